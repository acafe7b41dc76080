"""Tokens a second of the runs that benches/device/run.sh has made, Cognate's beside torch's, from the figures in a folder.

    python benches/device/table.py OUT
"""

import glob
import json
import os
import re
import statistics
import sys

rates = {}
for path in sorted(glob.glob(f"{sys.argv[1]}/*-*-*-*.json")):
    name, dtype, way, _ = re.fullmatch(r"(.+)-(\w+)-(\w+)-(\d+)\.json", os.path.basename(path)).groups()
    with open(path, encoding="utf-8") as file:
        told = json.load(file)
    if way == "cognate":
        speed = told["speed"]
        tokens, seconds, stages = speed["tokens"], speed["wall_seconds"], speed["stage_seconds"]
    else:
        tokens, seconds, stages = told["tokens"], told["wall_s"], told["stages"]
    rates.setdefault((name, dtype, way), []).append((tokens / seconds, {k: v / tokens * 1e6 for k, v in stages.items()}))
print("| run | numbers | way | tokens a second | times torch's streaming | µs per token by stage |\n|---|---|---|---|---|---|")
for (name, dtype, way), found in rates.items():
    rate = statistics.median(r for r, _ in found)
    torch = rates.get((name, dtype, "stream"))
    times = f"{rate / statistics.median(r for r, _ in torch):.2f}" if torch else ""
    stages = ", ".join(f"{k} {v:.0f}" for k, v in found[0][1].items() if v >= 0.5)
    spread = f"{rate:,.0f} ({min(r for r, _ in found):,.0f} to {max(r for r, _ in found):,.0f})"
    print(f"| {name} | {dtype} | {way} | {spread} | {times} | {stages} |")
