"""Cognate and the Python ways on the same files, one after the other (A B C A B C …), at equal threads on equal cores.

First the answers: each latent's best partner and its correlation must agree, then speed is told. A run of Cognate is the
whole command, from start to published tables; of a Python run the imports and the opening of models are left out (they are
given in a column of their own). Processor seconds and peak memory are those that the system gives for the child process.

Writes Markdown to standard output and every figure to --json. Run it with the Python of .venv (run.sh does).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as parquet

HERE = os.path.dirname(os.path.abspath(__file__))
HOME = os.path.normpath(os.path.join(HERE, "../.."))
TOLERANCE = 1e-4  # f32 forwards of two libraries; a near tie of a top-k may fall the other way

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
parser.add_argument("--pairs", nargs="+", default=["one", "nine"])
parser.add_argument("--max-tokens", type=int, default=0, help="0 = the whole corpus")
parser.add_argument("--binary", default=os.path.join(HOME, "target/release/cognate"))
parser.add_argument("--work", default="runs/peers", help="folder for runs and correlations")
parser.add_argument("--json", help="file for every figure")
parser.add_argument("--max-off", type=float, default=0.002, help="share of latents whose best partner or its r may differ")
args = parser.parse_args()
os.makedirs(args.work, exist_ok=True)

# name, blocks, way; "needed" is a Python user who cuts the model behind the last block that is read
WAYS = {
    "one": [("stream", "needed"), ("stream", "all"), ("dense", "all")],
    "nine": [("stream", "all"), ("dense", "all")],
    "shapes": [("stream", "needed"), ("dense", "needed")],
}
# the dense way holds 256 KiB per token at 32768 latents per side: it is measured on fewer tokens, at the same cost each
DENSE_TOKENS = {"shapes": 8000}


def run(command, threads):
    """Wall seconds, processor seconds, peak bytes and output of a child on the first `threads` cores."""
    cores = sorted(os.sched_getaffinity(0))[:threads]
    env = dict(os.environ, RAYON_NUM_THREADS=str(threads), OMP_WAIT_POLICY="passive", HF_HUB_OFFLINE="1")
    load = os.getloadavg()[0]
    begin = time.perf_counter()
    with open(f"{args.work}/out", "w+", encoding="utf-8") as out, open(f"{args.work}/err", "w+", encoding="utf-8") as err:
        child = subprocess.Popen(
            command, cwd=HOME, env=env, stdout=out, stderr=err, preexec_fn=lambda: os.sched_setaffinity(0, cores)
        )
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - begin
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if child.returncode:
            sys.exit(f"{' '.join(command)} ended with {child.returncode}:\n{err.read()}")
        return {"wall": wall, "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss * 1024, "load": load}, out.read()


def cognate(pairs, threads):
    folder = f"{args.work}/cognate-{pairs}"
    command = [args.binary, "run", f"benches/peers/{pairs}.toml", "--out", folder, "--fresh", "--json"]
    if args.max_tokens:
        command += ["--max-tokens", str(args.max_tokens)]
    figures, out = run(command, threads)
    summary = json.loads(out.strip().splitlines()[-1])
    speed = summary["speed"]
    return {**figures, "tokens": speed["tokens"], "start": 0.0, "stages": speed["stage_seconds"]}


def python(pairs, threads, way, blocks):
    out = f"{args.work}/{way}-{blocks}-{pairs}.npz"
    command = [sys.executable, f"{HERE}/demo.py", "--pairs", pairs, "--way", way, "--blocks", blocks, "--threads", str(threads)]
    tokens = DENSE_TOKENS.get(pairs, args.max_tokens) if way == "dense" else args.max_tokens
    command += ["--max-tokens", str(tokens), "--out", out]
    figures, text = run(command, threads)
    told = json.loads(text.strip().splitlines()[-1])
    return {
        **figures,
        "wall": told["wall_s"],
        "cpu": told["cpu_s"],
        "start": told["start_wall_s"],
        "tokens": told["tokens"],
        "stages": told["stages"],
    }


def agreement(pairs, way, blocks):
    """Number of best matches, how many differ, and the largest difference among the others."""
    table = parquet.read_table(f"{args.work}/cognate-{pairs}/tables/matches.parquet").to_pydict()
    other = np.load(f"{args.work}/{way}-{blocks}-{pairs}.npz")
    n, off, worst = 0, 0, 0.0
    if pairs in DENSE_TOKENS:
        return agreement_of_best(table, other)
    best = {name: (np.nan_to_num(other[name], nan=-2).max(1), np.nan_to_num(other[name], nan=-2).max(0)) for name in other}
    rs = {name: other[name] for name in other}
    for i, r in enumerate(table["correlation"]):
        if table["rank"][i] != 1 or r is None:
            continue
        name = (
            f"{table['source_model'][i]}/{table['source_hookpoint'][i]}|{table['target_model'][i]}/{table['target_hookpoint'][i]}"
        )
        a, b = table["source_latent"][i], table["target_latent"][i]
        forward = table["direction"][i] == "forward"
        theirs_best = best[name][0][a] if forward else best[name][1][b]
        # their best r is ours, and the partner we name is (within the tolerance) their best too
        difference = max(abs(theirs_best - r), abs(rs[name][a, b] - r))
        n += 1
        if difference > TOLERANCE or np.isnan(difference):
            off += 1
        else:
            worst = max(worst, difference)
    return n, off, worst


def agreement_of_best(table, other):
    """The same where only each latent's best correlation was kept."""
    first, *more = other.files
    assert not more, "one pair"
    theirs, n, off, worst = other[first][0], 0, 0, 0.0
    width = len(theirs) // 2
    for i, r in enumerate(table["correlation"]):
        if table["rank"][i] != 1 or r is None:
            continue
        forward = table["direction"][i] == "forward"
        at = table["source_latent"][i] if forward else width + table["target_latent"][i]
        n += 1
        difference = abs(theirs[at] - r)
        if difference > TOLERANCE:
            off += 1
        else:
            worst = max(worst, difference)
    return n, off, worst


def middle(values):
    return statistics.median(values)


def spread(values, digits=0):
    return f"{middle(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


figures = []
for pairs in args.pairs:
    for threads in args.threads:
        for turn in range(args.rounds):
            ours = cognate(pairs, threads)
            figures.append({"pairs": pairs, "threads": threads, "turn": turn, "name": "Cognate", **ours})
            for way, blocks in WAYS[pairs]:
                name = f"Python, {way}" + (", cut model" if blocks == "needed" else "")
                found = python(pairs, threads, way, blocks)
                figures.append({"pairs": pairs, "threads": threads, "turn": turn, "name": name, **found})
                if found["tokens"] != ours["tokens"] and not (way == "dense" and pairs in DENSE_TOKENS):
                    sys.exit(f"{name} counted {found['tokens']} tokens, Cognate {ours['tokens']}")
            if args.json:
                with open(args.json, "w", encoding="utf-8") as file:
                    json.dump(figures, file, indent=1)
            print(f"{pairs} pairs, {threads} threads, round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)

print("| pairs | against | best matches | differ by more than 1e-4 | largest difference of the others |\n|---|---|---|---|---|")
agree = True
for pairs in args.pairs:
    for way, blocks in WAYS[pairs]:
        if way == "dense" and pairs in DENSE_TOKENS:
            continue  # other tokens, other answers
        n, off, worst = agreement(pairs, way, blocks)
        agree &= off <= args.max_off * n
        print(f"| {pairs} | {way}, {blocks} blocks | {n:,} | {off} | {worst:.1e} |")
print()
if not agree:
    sys.exit("the answers differ: no speed is told")
print("| pairs | threads | | tokens/s | CPU s per million tokens | peak MiB | start s | Cognate's tokens/s over it | its CPU s over Cognate's |")
print("|---|---|---|---|---|---|---|---|---|")
for pairs in args.pairs:
    for threads in args.threads:
        names = ["Cognate"] + [f"Python, {w}" + (", cut model" if b == "needed" else "") for w, b in WAYS[pairs]]
        speed, cost = {}, {}
        for name in names:
            rows = [f for f in figures if (f["pairs"], f["threads"], f["name"]) == (pairs, threads, name)]
            speed[name] = [f["tokens"] / f["wall"] for f in rows]
            cost[name] = [f["cpu"] / f["tokens"] * 1e6 for f in rows]
            # of runs in the same round, so that the machine's other work falls on both
            ratio = [a / b for a, b in zip(speed["Cognate"], speed[name])]
            saving = [b / a for a, b in zip(cost["Cognate"], cost[name])]
            print(
                f"| {pairs} | {threads} | {name} | {spread(speed[name])} | {spread(cost[name], 1)} "
                f"| {middle([f['peak'] for f in rows]) / 2**20:,.0f} | {middle([f['start'] for f in rows]):.1f} "
                + (f"| {spread(ratio, 2)} | {spread(saving, 2)} |" if name != "Cognate" else "| 1 | 1 |")
            )
loads = [f["load"] for f in figures]
print(f"\n{figures[0]['tokens']:,} tokens a run, {args.rounds} rounds, load average before a run {spread(loads, 1)} (the machine's own other work is in it).")
