"""Do two builds of Cognate give the same tables? Every column of every table, bit for bit.

Usage: same_numbers.py OLD NEW [--tokens N] [--work DIR]     (OLD, NEW: paths of the program)

Runs both over the demo: exact, sketch, second pass, random weights, raw hookpoints; a merge of two shards; three `score --set`;
and the new one also with 2 and 3 workers and as two processes. Needs pyarrow. Exit code 1 when a column differs.

With --since FORMAT (a key of SINCE below), OLD is a build from before what that entry lists; what is listed is left out, and said.
With --near D, a column of floats whose values differ by at most D, nulls in the same places, is not counted and is named with its largest difference.
"""

import argparse
import json
import pathlib
import shutil
import socket
import subprocess
import sys

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

# column of the old build: its name in the new one, where it was renamed; columns listed as None went
RENAMED = {("matches.parquet", "standard_error"): "sketch_error"}
# metadata that names the build or the run, and may differ
NOT_COMPARED = {"cognate.fingerprint"}

# tables that came later
NEW_TABLES = ["best_over.parquet", "best_over_counts.parquet", "best_over_scores.parquet", "cycles.parquet", "group_sizes.parquet", "groups.parquet"]
NULL_OF_ACTIVATIONS = ["null_mean", "null_sd"]

# changes that were meant, by the last commit before them, oldest first; those of a later one hold for an earlier build too
SINCE = {
    "3a2ec64": {
        # a row's bucket in a sketch is drawn by its file's name and first record, before by its file's number
        "flows": {"sketch", "second-pass"},
        # the history is a table of the set, before a file beside it; counts of pairs have a table; columns chance_point (matches) and
        # one_decoder (similarities) are new
        "tables": {"history.parquet", "pairs.parquet"},
        # format 2; a set of tables names its snapshot
        "metadata": {"cognate.format"},
    },
    "19047e5": {
        "tables": set(NEW_TABLES),
        # a score has a history of its own, so that it is read like a run
        "tables of scores": {"history.parquet"},
        # tables 4
        "metadata": {"cognate.format"},
        # the permutations of raw activations are drawn once for a batch, before once for each pair: with few of them their mean and spread are others
        "rows": {("similarities.parquet", column): ("pairing", "activations") for column in NULL_OF_ACTIVATIONS},
    },
}

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = (ROOT / "dataflows/demo.toml").read_text()
RANDOM = (ROOT / "dataflows/demo-random.toml").read_text()


def flows(work, tokens):
    """Name and text of each dataflow file."""
    sketch = DEMO.replace('pairs = "all"', 'pairs = "all"\ncross = "sketch"\nwidth = 256').replace(
        'categories = "data/demo/categories.toml"\n', "")
    second = sketch.replace("width = 256", 'width = 256\nrefine = "second-pass"')
    raw = "\n".join(line for line in DEMO.split("[saes.")[0].splitlines()) + """
[compare]
pairs = "all"
hookpoints = ["small-a/resid_post.1", "small-a/mlp_out.2", "small-b/resid_post.3"]
[estimate]
snapshot_every = 8_000
activation_measures = ["svcca", "cka"]
"""
    lines = (ROOT / "data/demo/corpus.jsonl").read_text().splitlines(keepends=True)
    shards = []
    for k in range(2):
        path = work / f"shard{k}.jsonl"
        path.write_text("".join(lines[k * 40:(k + 1) * 40]))
        shards.append(DEMO.replace("data/demo/corpus.jsonl", str(path)))
    limit = f"max_tokens = {tokens}\nbatch_contexts = 32"
    cut = lambda text: text.replace("batch_contexts = 32", limit).replace("snapshot_every = 50_000", "snapshot_every = 8_000")
    return {"exact": cut(DEMO), "sketch": cut(sketch), "second-pass": cut(second).replace(limit, "batch_contexts = 32").replace(
        '"data/demo/corpus.jsonl"', f'"{work}/shard0.jsonl"'), "random": cut(RANDOM), "raw": cut(raw), "shard0": cut(shards[0]), "shard1": cut(shards[1])}


def call(*command):
    done = subprocess.run([str(c) for c in command], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr[-2000:]}")


def column(values):
    """The bytes of a column: floats by their bits."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def compare(name, old, new, since, near):
    """Prints and counts columns that differ; those within `near` are printed only."""
    names = sorted(p.name for p in (old / "tables").glob("*.parquet"))
    names = [n for n in names if n not in since["tables"]]
    missing = set(names) ^ ({p.name for p in (new / "tables").glob("*.parquet")} - since["tables"])
    close = []
    differ, columns = [f"{m}: in one run only" for m in sorted(missing)], 0
    for table in names:
        if table in {m for m in missing}:
            continue
        a, b = pq.read_table(old / "tables" / table), pq.read_table(new / "tables" / table)
        for c in a.column_names:
            to = RENAMED.get((table, c), c)
            if to is None:
                continue
            columns += 1
            if to not in b.column_names:
                differ.append(f"{table}: {c} is gone")
                continue
            x, y = column(a.column(c)), column(b.column(to))
            if (table, c) in since["rows"]:
                of, value = since["rows"][table, c]
                x, y = (column(v).filter(pc.not_equal(t.column(of), value).combine_chunks()) for v, t in ((x, a), (y, b)))
            if x.type != y.type or not bits(x).equals(bits(y)):
                by = distance(x, y)
                (close if by is not None and by <= near else differ).append(f"{table}: {c}" + ("" if by is None else f" by {by:.1e}"))
        for key, value in (a.schema.metadata or {}).items():
            if key.decode().startswith("cognate.") and key.decode() not in NOT_COMPARED | since["metadata"] and (b.schema.metadata or {}).get(key) != value:
                differ.append(f"{table}: metadata {key.decode()}")
    said = "".join(f"; near, {c}" for c in close)
    print(f"{name:<28} {len(names)} tables, {columns} columns: {'equal' if not differ else ', '.join(differ)}{said}", flush=True)
    return len(differ)


def distance(x, y):
    """By how much two columns of floats differ at most; none where a null, a NaN or a length does too, or the type is another."""
    if x.type != y.type or not pa.types.is_floating(x.type) or len(x) != len(y) or not x.is_null(nan_is_null=True).equals(y.is_null(nan_is_null=True)):
        return None
    return pc.max(pc.abs(pc.subtract(x, y))).as_py() or 0.0


def bits(array):
    """The same values with floats as integers, so that -0 and 0 are two, and a NaN is itself."""
    if pa.types.is_float64(array.type):
        return array.view(pa.int64())
    if pa.types.is_float32(array.type):
        return array.view(pa.int32())
    return array


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=pathlib.Path)
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=16_000)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/tmp/same-numbers"))
    parser.add_argument("--near", type=float, default=-1.0)
    parser.add_argument("--since", choices=sorted(SINCE))
    args = parser.parse_args()
    since = {"flows": set(), "tables": set(), "tables of scores": set(), "metadata": set(), "rows": {}}
    for meant in list(SINCE.values())[list(SINCE).index(args.since):] if args.since else []:
        since |= {what: since[what] | names for what, names in meant.items()}
    for what, names in since.items():
        if names:
            print(f"left out, changed since {args.since}: {what} {', '.join(sorted(map(str, names)))}")
    shutil.rmtree(args.work, ignore_errors=True)
    args.work.mkdir(parents=True)
    n_differ = 0
    builds = {"old": args.old.resolve(), "new": args.new.resolve()}
    texts = {name: text for name, text in flows(args.work, args.tokens).items() if name not in since["flows"]}
    for name, text in texts.items():
        flow = args.work / f"{name}.toml"
        flow.write_text(text)
        for build, program in builds.items():
            call(program, "run", flow, "--quiet", "--out", args.work / build / name)
        n_differ += compare(name, args.work / "old" / name, args.work / "new" / name, since, args.near)
    for build, program in builds.items():
        runs = args.work / build
        call(program, "merge", runs / "shard0", runs / "shard1", "--out", runs / "merged")
        for k, settings in enumerate([["estimate.filters.one_to_one=hungarian"], ['estimate.measures=["rsa", "svcca_k5"]', "estimate.best=3"],
                                      ["estimate.rules=as_published"]]):
            sets = [word for s in settings for word in ("--set", s)]
            call(program, "score", runs / "exact", *sets, "--out", runs / f"score{k}")
    for name in ["merged", "score0", "score1", "score2"]:
        more = since["tables of scores"] if name.startswith("score") else set()
        n_differ += compare(name, args.work / "old" / name, args.work / "new" / name, since | {"tables": since["tables"] | more}, args.near)
    exact, program = args.work / "exact.toml", builds["new"]
    for workers in [2, 3]:
        out = args.work / f"workers{workers}"
        call(program, "run", exact, "--quiet", "--workers", workers, "--out", out)
        n_differ += compare(f"{workers} workers", args.work / "old/exact", out, since, args.near)
    sockets = [socket.socket() for _ in range(2)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    (args.work / "hosts").write_text("".join(f"127.0.0.1:{s.getsockname()[1]}\n" for s in sockets))
    for s in sockets:
        s.close()
    out = args.work / "processes"
    running = [subprocess.Popen([program, "run", exact, "--quiet", "--out", out, "--processes", "2", "--process", str(k), "--hosts",
                                 args.work / "hosts"], cwd=ROOT) for k in range(2)]
    codes = [p.wait() for p in running]
    if codes != [0, 0]:
        sys.exit(f"two processes: exit codes {codes}")
    n_differ += compare("2 processes", args.work / "old/exact", out, since, args.near)
    print(json.dumps({"differ": n_differ}))
    sys.exit(1 if n_differ else 0)


main()
