"""Does a token cost the same however long the corpus is? A cheap model over the demo's corpus, repeated: CPU and peak memory.

    benches/peers/.venv/bin/python benches/peers/flat.py [--tokens 100000 1000000 10000000] [--rounds 3]

Four blocks of 256 dimensions against another model of the same size, SAEs of 512 latents, k = 16; exact sums and a sketch of width 256;
the same dataflow file but for its length, with a snapshot every 50 000 tokens and all tables at each.
A machine's speed drifts over minutes, and a run of 10⁷ tokens takes many: so before and after each longer run stand two of the shortest, and
its cost a token is set beside the mean of these four. What does not grow with the corpus (start, tables, page) is what a run of 1 000
tokens takes. Writes Markdown to standard output and every figure to --json.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys

import shapes

# Runs of the shortest length on either side of a longer one.
BESIDE = 2
HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--tokens", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
parser.add_argument("--sums", nargs="+", choices=["exact", "sketch"], default=["exact", "sketch"])
parser.add_argument("--rounds", type=int, default=3, help="of all lengths up to two million tokens; longer ones have one")
parser.add_argument("--binary", default=os.path.join(HOME, "target/release/cognate"))
parser.add_argument("--work", default="runs/flat", help="folder for models, corpus and runs")
parser.add_argument("--json", help="file for every figure")
args = parser.parse_args()

work = os.path.join(HOME, args.work)
for name in ("cheap-a", "cheap-b"):
    shapes.SHAPES[name] = dict(d=256, layers=4, heads=4, mlp=1024)
    shapes.write_model(f"{work}/{name}", name)
    shapes.write_sae(f"{work}/saes/{name}", name, 3, 512, 16)
# each time the whole corpus, some 220 000 tokens, in another order: what a token costs depends on its text
with open(f"{HOME}/data/demo/corpus.jsonl", encoding="utf-8") as file:
    lines = file.readlines()
order = random.Random(0)
with open(f"{work}/corpus.jsonl", "w", encoding="utf-8") as file:
    for _ in range(max(args.tokens) // 200_000 + 2):
        order.shuffle(lines)
        file.writelines(lines)


def flow(cross, tokens):
    compare = {"exact": 'cross = "exact"', "sketch": 'cross = "sketch"\nwidth = 256'}[cross]
    path = f"{work}/{cross}-{tokens}.toml"
    sites = "".join(
        f'[models.{name}]\npath = "{work}/{name}"\n[saes."{name}/resid_post.3"]\npath = "{work}/saes/{name}"\n'
        for name in ("cheap-a", "cheap-b")
    )
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            f'format = 1\nname = "flat"\n[corpus]\nfiles = ["{work}/corpus.jsonl"]\ncontext_length = 128\nmax_tokens = {tokens}\n{sites}'
            f"[compare]\npairs = \"all\"\n{compare}\n[check]\ndoctor = \"off\"\n"
        )
    return path


def run(cross, tokens):
    command = [args.binary, "run", flow(cross, tokens), "--out", f"{work}/run", "--fresh", "--json"]
    child = subprocess.run(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if child.returncode:
        sys.exit(child.stderr)
    speed = json.loads(child.stdout.strip().splitlines()[-1])["speed"]
    return {"cross": cross, "asked": tokens, **speed}


def told(cross, tokens, **where):
    figures.append({**run(cross, tokens), **where})
    print(f"{cross}, {tokens} tokens: {per_token(figures[-1]):.2f} µs per token", file=sys.stderr, flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


def per_token(figure):
    return figure["cpu_seconds"] / figure["tokens"] * 1e6


figures = []
short, *longer = sorted(args.tokens)
for turn in range(args.rounds):
    for cross in args.sums:
        told(cross, 1_000, turn=turn)
        for tokens in [n for n in longer if turn == 0 or n < 2_000_000]:
            for _ in range(BESIDE):
                told(cross, short, turn=turn, beside=tokens)
            told(cross, tokens, turn=turn)
            for _ in range(BESIDE):
                told(cross, short, turn=turn, beside=tokens)

print("| sums | tokens | runs | CPU s | CPU µs per token | over the short runs beside it | peak MiB |")
print("|---|---|---|---|---|---|---|")
for cross in args.sums:
    for tokens in [1_000, short, *longer]:
        runs = [f for f in figures if (f["cross"], f["asked"]) == (cross, tokens)]
        beside = lambda f: [g for g in figures if (g["cross"], g["turn"], g.get("beside")) == (cross, f["turn"], tokens)]  # noqa: E731
        ratios = [per_token(f) / statistics.mean(map(per_token, beside(f))) for f in runs if beside(f)]
        over = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})" if ratios else ""
        of = lambda what: statistics.median(what(f) for f in runs)  # noqa: E731
        print(
            f"| {cross} | {of(lambda f: f['tokens']):,.0f} | {len(runs)} | {of(lambda f: f['cpu_seconds']):.2f} "
            f"| {of(per_token):.2f} ({min(map(per_token, runs)):.2f} to {max(map(per_token, runs)):.2f}) | {over} "
            f"| {of(lambda f: f['peak_bytes']) / 2**20:.1f} |"
        )
