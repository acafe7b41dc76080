"""Sums of products of firings, Cognate's and scipy's: millions of updates a processor second, beside copying.

Rows with 32 firings on each side, latents drawn by Zipf's law (exponent 0.9); f64 totals on both
sides. scipy multiplies the transposed sparse matrix of one side with the other and gives a sparse result; adding that to
dense sums, which Cognate's time includes, is left out of scipy's.

Writes Markdown to standard output and every figure to --json. Run it with the Python of .venv.
"""

import os
import statistics

import rig
from rig import HOME

parser = rig.parser(__doc__, rounds=3, work="the firings")
parser.add_argument("--shapes", nargs="+", default=["4064x1024", "4064x8192", "65024x8192", "65024x16384"], help="rows x latents")
args = parser.parse_args()

import numpy as np  # noqa: E402
import scipy.sparse as sparse  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

K = 32
rng = np.random.default_rng(0)


def firings(n, d):
    """K different latents per row, ascending, and their values."""
    names = rng.permutation(d).astype(np.int32)
    draw = lambda size: names[np.minimum((((d + 1) ** 0.1 - 1) * rng.random(size) + 1) ** 10 - 1, d - 1).astype(int)]  # noqa: E731
    latents = np.sort(draw((n, K)), axis=1)
    while (again := np.pad(latents[:, 1:] == latents[:, :-1], ((0, 0), (1, 0)))).any():
        latents[again] = draw(int(again.sum()))
        latents.sort(axis=1)
    return latents, rng.random((n, K), dtype=np.float32)


binary = args.binary or rig.built()
os.makedirs(os.path.join(HOME, args.work), exist_ok=True)
figures = []
for shape in args.shapes:
    n, d = map(int, shape.split("x"))
    (a, x), (b, y) = firings(n, d), firings(n, d)
    path = os.path.join(HOME, args.work, "firings.safetensors")
    save_file({"a": a, "b": b, "x": x, "y": y}, path)
    csr = lambda v, j: sparse.csr_matrix((v.ravel().astype(float), j.ravel(), np.arange(0, n * K + 1, K)), shape=(n, d))  # noqa: E731
    left, right = csr(x, a), csr(y, b)
    for turn in range(args.rounds):
        ours = rig.ask([binary, "sums", path, str(d)])
        theirs, product = rig.timed(lambda: left.T.tocsr() @ right)
        if abs(product.sum() - ours["total"]) > 1e-9 * ours["total"]:
            raise SystemExit(f"{shape}: scipy's sums are {product.sum()} in all, Cognate's {ours['total']}")
        figures.append({"rows": n, "latents": d, "turn": turn, **ours, "scipy_cpu_s": theirs})
        del product
    rig.keep(figures, args.json)

print("| rows x latents | Cognate, M updates a CPU s | scipy | over scipy | copy, GB/s |")
print("|---|---|---|---|---|")
for n, d in dict.fromkeys((f["rows"], f["latents"]) for f in figures):
    rows = [f for f in figures if (f["rows"], f["latents"]) == (n, d)]
    middle = lambda key: statistics.median(f["updates"] / f[key] / 1e6 for f in rows)  # noqa: E731
    over = statistics.median(f["scipy_cpu_s"] / f["cpu_s"] for f in rows)
    copy = statistics.median(f["copy_gb_per_s"] for f in rows)
    print(f"| {n} x {d} | {middle('cpu_s'):.0f} | {middle('scipy_cpu_s'):.0f} | {over:.1f} | {copy:.0f} |")
