"""The counts of a pair beside their chance, by NumPy on whole matrices: what tests/matching.rs holds ours against.

Reads the activations of tests/fixtures/matching, lays the rows of each batch beside those half a batch on, correlates in two passes
over the dense matrices and counts with plain loops. Writes tests/fixtures/matching/chance.json. Needs numpy and pyarrow.

    python benches/peers/chance.py
"""

import json
import os

import numpy as np
import pyarrow.parquet as parquet

FIXTURE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/fixtures/matching")
ROWS, WIDTHS, BATCH = 4000, {"A": 300, "B": 260}, 300


def dense(side):
    table = parquet.read_table(os.path.join(FIXTURE, f"activations_{side}.coo.parquet")).to_pydict()
    x = np.zeros((ROWS, WIDTHS[side]), np.float64)
    x[table["token"], table["feature"]] = np.asarray(table["value"], np.float32)
    return x


def correlations(x, y):
    """Pearson's r of every column of x with every column of y; NaN where one is constant."""
    constant = [np.ptp(m, axis=0) == 0 for m in (x, y)]
    x, y = x - x.mean(0), y - y.mean(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (x / np.linalg.norm(x, axis=0)).T @ (y / np.linalg.norm(y, axis=0))
    r[constant[0], :] = np.nan
    r[:, constant[1]] = np.nan
    return r


def best(r):
    """(partner, r) of each row, None where nothing is defined; what differs by less than 1e-9 is a tie, for the lower column."""
    out = []
    for row in r:
        if np.isnan(row).all():
            out.append(None)
            continue
        top = np.nanmax(row)
        partner = int(np.flatnonzero(row > top - 1e-9)[0])
        out.append((partner, float(row[partner])))
    return out


def points(null, n_active):
    """The 95 % point of the chance maxima of each latent's band: powers of two in the firings, from below, of 200 at least."""
    power = [int(n).bit_length() for n in n_active]
    bands, members = [], []
    for k in range(65):
        members.append(k)
        if sum(null[i] is not None for i in range(len(null)) if power[i] in members) >= 200:
            bands.append(members)
            members = []
    if bands:
        bands[-1] += members
    else:
        bands.append(members)
    out = []
    for i in range(len(null)):
        if null[i] is None:
            out.append(None)
            continue
        band = next(b for b in bands if power[i] in b)
        levels = sorted(null[j][1] for j in range(len(null)) if power[j] in band and null[j] is not None)
        out.append(next(v for v in levels if 20 * sum(w > v for w in levels) <= len(levels)))
    return out


def counts(forward, backward, of_source, of_target):
    mutual = [(i, p[0], p[1]) for i, p in enumerate(forward) if p is not None and backward[p[0]][0] == i]
    above = [m for m in mutual if m[2] > of_source[m[0]] and m[2] > of_target[m[1]]]
    mean = [float(np.mean([p[1] for p in side if p is not None])) for side in (forward, backward)]
    distinct = [len({p[0] for p in side if p is not None}) for side in (forward, backward)]
    return {
        "n_mutual": len(mutual),
        "n_mutual_above_chance": len(above),
        "n_distinct_partners": distinct,
        "mean_best_correlation": mean,
    }


def main():
    x, y = dense("A"), dense("B")
    beside = []
    for first in range(0, ROWS, BATCH):
        n = min(BATCH, ROWS - first)
        beside += [first + (r + n // 2) % n for r in range(n)]
    real, null = correlations(x, y), correlations(x, y[beside])
    found = [best(real), best(real.T)]
    by_chance = [best(null), best(null.T)]
    level = [points(side, np.count_nonzero(m, axis=0)) for side, m in zip(by_chance, (x, y))]
    out = {
        "batch": BATCH,
        "real": counts(*found, *level),
        "null": counts(*by_chance, *level),
        "points": level,
    }
    with open(os.path.join(FIXTURE, "chance.json"), "w") as file:
        json.dump(out, file)
    print(json.dumps({k: out[k] for k in ("real", "null")}))


if __name__ == "__main__":
    main()
