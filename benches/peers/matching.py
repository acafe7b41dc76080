"""The heavy parts of matching and scoring beside NumPy and SciPy, in one run: seconds and peak memory.

Each part runs in a process of its own, ours through `cargo bench --bench figures`, theirs here; same shapes, random
values. Needs numpy and scipy (requirements.txt), and the bench built: `cargo bench --bench figures --no-run`.

    benches/peers/.venv/bin/python benches/peers/matching.py [--json FILE]
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))


def components(n, d, k, seed):
    m = np.random.default_rng(seed).standard_normal((n, d))
    return np.linalg.svd(m - m.mean(0), full_matrices=False)[0][:, :k]


def svcca_null(k, runs):
    """Permutations of SVCCA with k components per side at N = 7,500, components computed once (the authors' code repeats both
    decompositions for each)."""
    start = time.perf_counter()
    a, b = components(7500, 512, k, 0), components(7500, 768, k, 1)
    once = time.perf_counter() - start
    generator = np.random.default_rng(2)
    for _ in range(runs):
        m = a.T @ b[generator.permutation(7500)]
        np.linalg.svd(m, compute_uv=False).clip(max=1).mean()
    return {"once_s": once, "null_s": time.perf_counter() - start - once}


def rsa(n, runs):
    from scipy.stats import rankdata

    start = time.perf_counter()
    at = np.triu_indices(n, 1)

    def ranks(seed):
        m = np.random.default_rng(seed).standard_normal((n, 512))
        m -= m.mean(1, keepdims=True)
        m /= np.linalg.norm(m, axis=1, keepdims=True)
        r = rankdata((m @ m.T)[at])
        return r - r.mean()

    a = ranks(0)
    b = np.zeros((n, n), np.float32)  # f64 would take twice as much
    b[at] = ranks(1)
    b += b.T
    once = time.perf_counter() - start
    generator = np.random.default_rng(2)
    for _ in range(runs):
        order = generator.permutation(n)
        float(a @ b[np.ix_(order, order)][at])
    return {"once_s": once, "null_s": time.perf_counter() - start - once}


def hungarian(n, candidates):
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    generator = np.random.default_rng(0)
    rows = np.repeat(np.arange(n), candidates)
    columns = generator.integers(0, n, n * candidates)
    scores = generator.random(n * candidates)
    # a full matching must exist for SciPy: each row may also take a column of its own at score 0
    rows, columns = np.append(rows, np.arange(n)), np.append(columns, n + np.arange(n))
    costs = np.append(1.0 - scores, np.ones(n))
    graph = csr_array((costs, (rows, columns)), shape=(n, 2 * n))
    start = time.perf_counter()
    min_weight_full_bipartite_matching(graph)
    return {"once_s": time.perf_counter() - start, "null_s": 0.0}


THEIRS = {
    "svcca, 1 component, 1000 permutations": lambda: svcca_null(1, 1000),
    "svcca_k10, 1000 permutations": lambda: svcca_null(10, 1000),
    "svcca, all components, 5 permutations": lambda: svcca_null(512, 5),
    "rsa, N = 7500, 10 permutations": lambda: rsa(7500, 10),
    "rsa, N = 20000": lambda: rsa(20000, 0),
    "hungarian, 32768 x 32768, 10 candidates": lambda: hungarian(32768, 10),
    "hungarian, 32768 x 32768, 50 candidates": lambda: hungarian(32768, 50),
}


def measured(command):
    """Runs a command; its JSON line and the peak memory of all children so far."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return (lines[-1] if lines else {"failed": done.stderr.strip()[-200:]}), peak


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    parser.add_argument("--part", help="theirs: run one part here")
    parser.add_argument("--child", type=json.loads, help="run a command, a JSON list of words, and tell its peak memory")
    parser.add_argument("--only", help="parts whose name holds this")
    args = parser.parse_args()
    if args.part:
        print(json.dumps(THEIRS[args.part]()))
        return
    if args.child:
        found, peak = measured(args.child)
        print(json.dumps({**found, "peak_mib": peak / 2**20}))
        return
    figures = {}
    print("| part | Cognate, s | peak MiB | NumPy / SciPy, s | peak MiB |\n|---|---|---|---|---|")
    for part in (p for p in THEIRS if not args.only or args.only in p):
        name = "hungarian" if part.startswith("hungarian") else "scores"
        ours = ["cargo", "bench", "--quiet", "--bench", "figures", "--", name, part]
        me = [sys.executable, os.path.abspath(__file__)]
        row = {}
        for who, command in (("cognate", ours), ("python", [*me, "--part", part])):
            out = subprocess.run([*me, "--child", json.dumps(command)], capture_output=True, text=True, check=False).stdout
            row[who] = json.loads(out.splitlines()[-1]) if out.strip() else {"failed": "no output"}
        figures[part] = row

        def cell(found):
            if "failed" in found:
                return f"failed: {found['failed'][:60]!r} | {found.get('peak_mib', 0):.0f}"
            return f"{found['once_s']:.2f} + {found['null_s']:.2f} | {found['peak_mib']:.0f}"

        print(f"| {part} | {cell(row['cognate'])} | {cell(row['python'])} |", flush=True)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
