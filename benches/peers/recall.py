"""How many of the exact best partners does a sketch find? Trained SAEs of the demo, three pairs, both ways over the same tokens.

    benches/peers/.venv/bin/python benches/peers/recall.py [--tokens 120000] [--width 512]

One choice of candidates at the end, so nothing is counted: the worst case. Of the latents of either side whose best partner has
r > 0.3 in the exact run, `@1` is the share whose partner the sketch ranks first, `@10` among its ten. Where it ranks another first, `near
duplicates` says how many of those have an exact r within 0.02 of the best.
"""

import argparse
import json
import os
import subprocess
import sys

import pyarrow.parquet as parquet

HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--tokens", type=int, default=120_000)
parser.add_argument("--width", type=int, default=512)
parser.add_argument("--binary", default=os.path.join(HOME, "target/release/cognate"))
parser.add_argument("--work", default="runs/recall", help="folder for the runs")
args = parser.parse_args()
PAIRS = [(1, 1), (2, 3), (3, 5)]
work = os.path.join(HOME, args.work)
os.makedirs(work, exist_ok=True)


def table(name, compare):
    """Exact or sketched matches: {(pair, direction, latent): [(partner, r), best first]}."""
    sites = sorted({f"small-a/resid_post.{a}" for a, _ in PAIRS} | {f"small-b/resid_post.{b}" for _, b in PAIRS})
    pairs = ", ".join(f'["small-a/resid_post.{a}", "small-b/resid_post.{b}"]' for a, b in PAIRS)
    text = f'format = 1\nname = "{name}"\n[corpus]\nfiles = ["data/demo/corpus.jsonl"]\ncontext_length = 128\nmax_tokens = {args.tokens}\n'
    for model in ("small-a", "small-b"):
        text += f'[models.{model}]\npath = "data/demo/models/{model}"\n'
    for site in sites:
        model, block = site.split("/")[0], site.rsplit(".", 1)[1]
        text += f'[saes."{site}"]\npath = "data/demo/saes/{model}/layers.{block}"\n'
    text += f"[compare]\npairs = [{pairs}]\n{compare}\n[estimate]\nsnapshot_every = 1_000_000_000\nbest = 10\n[check]\ndoctor = \"off\"\n"
    flow = f"{work}/{name}.toml"
    with open(flow, "w", encoding="utf-8") as file:
        file.write(text)
    command = [args.binary, "run", flow, "--out", f"{work}/{name}", "--fresh", "--json"]
    child = subprocess.run(command, cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if child.returncode:
        sys.exit(child.stderr)
    tokens = json.loads(child.stdout.strip().splitlines()[-1])["speed"]["tokens"]
    found = {}
    rows = parquet.read_table(f"{work}/{name}/tables/matches.parquet").to_pylist()
    for row in sorted(rows, key=lambda row: row["rank"]):
        if row["correlation"] is None:
            continue
        pair = (row["source_hookpoint"], row["target_hookpoint"])
        ours, theirs = ("source_latent", "target_latent") if row["direction"] == "forward" else ("target_latent", "source_latent")
        found.setdefault((pair, row["direction"], row[ours]), []).append((row[theirs], row["correlation"]))
    return found, tokens


exact, tokens = table("exact", 'cross = "exact"')
sketch, _ = table("sketch", f'cross = "sketch"\nwidth = {args.width}\ncandidates = 10')
print(f"{tokens:,} tokens, width {args.width}\n")
print("| pair | latents with r > 0.3 | recall@1 | @10 | of those not first, near duplicates | error of r (root mean square) |")
print("|---|---|---|---|---|---|")
total = [0, 0, 0, 0, 0.0, 0]
for pair in dict.fromkeys(key[0] for key in exact):
    n = first = ten = near = 0
    errors = []
    for key, best in exact.items():
        if key[0] != pair or best[0][1] <= 0.3:
            continue
        n += 1
        partners = sketch.get(key, [])
        known = dict(best)
        errors += [(r - known[j]) ** 2 for j, r in partners if j in known]
        first += bool(partners) and partners[0][0] == best[0][0]
        ten += best[0][0] in [j for j, _ in partners]
        if partners and partners[0][0] != best[0][0]:
            near += known.get(partners[0][0], -1) > best[0][1] - 0.02
    rms = (sum(errors) / max(len(errors), 1)) ** 0.5
    total = [t + v for t, v in zip(total, (n, first, ten, near, sum(errors), len(errors)))]
    print(f"| {pair[0]} x {pair[1]} | {n:,} | {first / n:.3f} | {ten / n:.3f} | {near} of {n - first} | {rms:.4f} |")
n, first, ten, near, squares, m = total
print(f"| all | {n:,} | {first / n:.3f} | {ten / n:.3f} | {near} of {n - first} | {(squares / m) ** 0.5:.4f} |")
