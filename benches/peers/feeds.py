"""How fast do activations come over a feed, beside copying them in memory and beside pickling them through a pipe? Needs numpy and pyarrow.

    python benches/peers/feeds.py [--binary target/release/cognate] [--width 2048] [--rounds 3]

Two fed models of one width, whose feed has its numbers ready, so that the exchange is all that is timed: `cognate plan --measure` gives the
time of the forward stage of one batch of 32 contexts of 128 tokens, which for a fed model is request, answer, checks and widening. Pickling: the
same array sent by multiprocessing's Pipe from a process that has it ready. Copying: numpy's copy of an array that fits no cache. Each the best of
its rounds, as the machine is shared. Writes Markdown to standard output.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import time

HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
CONTEXTS, LENGTH = 32, 128
FEED = """
import sys
sys.path.insert(0, {package!r})
import numpy as np
import cognate

ready = np.random.default_rng(1).standard_normal(({tokens}, {width})).astype(np.{dtype})
for batch in cognate.Feed():
    n = sum(len(ids) for ids in batch.contexts)
    batch.answer({{name: ready[:n] for name in batch.asks}})
"""
FLOW = """
format = 1
name = "feeds"
[corpus]
files = ["data/demo/corpus.jsonl"]
context_length = {length}
batch_contexts = {contexts}
[models]
a = {{ feed = {{ command = {command} }}, tokenizer = "data/demo/models/small-a", d_model = {width} }}
b = {{ feed = {{ command = {command} }}, tokenizer = "data/demo/models/small-a", d_model = {width} }}
[compare]
pairs = [["a/resid_post.0", "b/resid_post.0"]]
"""


def send(end, array, n):
    for _ in range(n):
        end.recv()
        end.send(array)


def best(rounds, work):
    return min(work() for _ in range(rounds))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.path.join(HOME, "target/release/cognate"))
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", default=os.path.join(HOME, "runs/feeds"))
    args = parser.parse_args()
    import numpy as np

    os.makedirs(args.work, exist_ok=True)
    tokens, rows = CONTEXTS * LENGTH, []

    def fed(dtype):
        script = os.path.join(args.work, f"{dtype}.py")
        with open(script, "w", encoding="utf-8") as file:
            file.write(FEED.format(package=os.path.join(HOME, "python/src"), tokens=tokens, width=args.width, dtype=dtype))
        flow = os.path.join(args.work, f"{dtype}.toml")
        with open(flow, "w", encoding="utf-8") as file:
            command = json.dumps([sys.executable, script])
            file.write(FLOW.format(length=LENGTH, contexts=CONTEXTS, command=command, width=args.width))
        said = subprocess.run([args.binary, "plan", "--measure", "--json", flow], cwd=HOME, check=True, stdout=subprocess.PIPE)
        measured = json.loads(said.stdout)["measured"]
        return dict(measured["microseconds_a_token"])["forward"] / 2 * 1e-6

    for dtype, size in (("float32", 4), ("float16", 2)):
        seconds = best(args.rounds, lambda: fed(dtype))
        rows.append((f"a feed, {dtype}", seconds, size))
    for dtype, size in (("float32", 4), ("float16", 2)):
        array = np.ones((tokens, args.width), dtype)
        ours, theirs = multiprocessing.Pipe()
        n = 3 * args.rounds + 1
        sender = multiprocessing.Process(target=send, args=(theirs, array, n))
        sender.start()

        def turn():
            begun = time.perf_counter()
            ours.send(0)
            got = ours.recv()
            took = time.perf_counter() - begun
            assert got.shape == array.shape
            return took / tokens

        turn()
        rows.append((f"pickled through a pipe, {dtype}", best(n - 1, turn), size))
        sender.join()
    array, into = (np.ones((64 << 20,), np.float32) for _ in range(2))

    def copy():
        begun = time.perf_counter()
        np.copyto(into, array)
        return (time.perf_counter() - begun) / (len(array) / args.width)

    rows.append(("copied in memory, float32", best(3 * args.rounds, copy), 4))
    print(f"| {args.width} values per token | µs per token | GB/s |\n| --- | --- | --- |")
    for what, seconds, size in rows:
        print(f"| {what} | {seconds * 1e6:.2f} | {args.width * size / seconds / 1e9:.2f} |")


if __name__ == "__main__":
    main()
