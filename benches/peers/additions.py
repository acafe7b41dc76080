"""What does each thing that a run counts besides Σxy cost? CPU per token and peak memory, at true shapes, one thing switched on at a time.

    python benches/peers/shapes.py --out runs/shapes
    python benches/peers/shapes.py --out runs/shapes16 --d-sae 16384
    python benches/peers/additions.py [--tokens 8000 24000] [--rounds 3] [--old OLD_BINARY]

Pythia-70m's block 3 beside Pythia-160m's block 6, random weights, SAEs of 32 768 latents (16 384 for `full`), k = 32, exact sums with the
null of documents. Each way runs at both lengths with one snapshot at the end: the difference is what a token costs, without start, tables and
page. --old: another executable, run as its own defaults are; it must know none of the newer keys. The ways of a round run one after the
other, so that a drift of the machine meets all. Writes Markdown to standard output and every figure to --json.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--tokens", type=int, nargs=2, default=[8_000, 24_000])
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--binary", default=os.path.join(HOME, "target/release/cognate"))
parser.add_argument("--old", help="another executable, run with its defaults")
parser.add_argument("--ways", nargs="+", help="these alone")
parser.add_argument("--json", help="file for every figure")
args = parser.parse_args()

OFF = ("listed = 0\nnull = { given = false }", "")
# name: folder, keys of [estimate], keys of [compare], which way it is set beside
WAYS = {
    "as before: Σxy and the null of documents": ("runs/shapes", *OFF, None),
    "listed partners (co-firing, sampling error)": ("runs/shapes", "null = { given = false }", "", 0),
    "given the token, of listed partners (all defaults)": ("runs/shapes", "", "", 0),
    "readout, with all defaults": ("runs/shapes", "", "readout = true", 2),
    "maps, with all defaults": ("runs/shapes", "", "stitch = true", 2),
    "rows that both tokenizers share (span), all defaults": ("runs/shapes", "", 'align = "span"', 2),
    "rows of words, all defaults, per word": ("runs/shapes", "", 'unit = "word"', 2),
    "16 384 latents, all defaults": ("runs/shapes16", "", "", None),
    '16 384 latents, given.mode = "full"': ("runs/shapes16", 'null = { given = { mode = "full" } }', "", 7),
}


def flow(folder, estimate, compare):
    return f"""format = 1
name = "additions"
[corpus]
files = ["data/demo/corpus.jsonl"]
context_length = 256
batch_contexts = 16
[models.pythia-160m]
path = "{folder}/models/pythia-160m"
[models.pythia-70m]
path = "{folder}/models/pythia-70m"
[saes."pythia-160m/resid_post.6"]
path = "{folder}/saes/pythia-160m/layers.6"
[saes."pythia-70m/resid_post.3"]
path = "{folder}/saes/pythia-70m/layers.3"
[compare]
pairs = "all"
{compare}
[estimate]
snapshot_every = 1_000_000_000
{estimate}
[checkpoint]
every = 1_000_000_000
[check]
doctor = "off"
"""


def run(binary, text, tokens):
    """CPU seconds and peak bytes of one run."""
    with tempfile.TemporaryDirectory(dir=os.path.join(HOME, "runs")) as folder:
        path = f"{folder}/flow.toml"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        command = [binary, "run", path, "--json", "--out", f"{folder}/run", "--max-tokens", str(tokens), "--memory-limit", "24GB", "--disk-limit", "64GB"]
        done = subprocess.run(command, cwd=HOME, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    summary = next(e for e in events if e.get("event") == "summary")
    return {"tokens": summary["tokens"], "cpu": summary["speed"]["cpu_seconds"], "peak": summary["speed"]["peak_bytes"]}


ways = [(args.binary, name, way) for name, way in WAYS.items() if not args.ways or name in args.ways]
if args.old:
    ways.insert(0, (args.old, "the other executable", ("runs/shapes", "", "", None)))
figures = {name: [] for _, name, _ in ways}
for turn in range(args.rounds):
    for binary, name, (folder, estimate, compare, _) in ways:
        short, long = (run(binary, flow(folder, estimate, compare), n) for n in args.tokens)
        per_token = 1e6 * (long["cpu"] - short["cpu"]) / (long["tokens"] - short["tokens"])
        figures[name].append({"us": per_token, "cpu": long["cpu"], "peak": long["peak"], "tokens": long["tokens"]})
        print(f"round {turn + 1}, {name}: {per_token:.0f} µs per token", file=sys.stderr)
if args.json:
    with open(args.json, "w", encoding="utf-8") as file:
        json.dump(figures, file, indent=1)


def median(name, key):
    return statistics.median(f[key] for f in figures[name])


names = list(WAYS)
print("| counted | CPU µs per token (range) | more | peak GiB | more |\n| --- | --- | --- | --- | --- |")
for _, name, (_, _, _, beside) in ways:
    us, all_us = median(name, "us"), [f["us"] for f in figures[name]]
    row = [name, f"{us:.0f} ({min(all_us):.0f} to {max(all_us):.0f})", "", f"{median(name, 'peak') / 2**30:.2f}", ""]
    other = names[beside] if beside is not None else None
    if other in figures:
        more = [f["us"] - g["us"] for f, g in zip(figures[name], figures[other])]
        row[2] = f"{statistics.median(more):+.0f} ({100 * statistics.median(more) / median(other, 'us'):+.1f} %)"
        row[4] = f"{(median(name, 'peak') - median(other, 'peak')) / 2**30:+.2f}"
    print("| " + " | ".join(row) + " |")
