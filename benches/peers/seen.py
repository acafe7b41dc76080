"""Writes tests/fixtures/seen.json: how many different hashes datasketch's HyperLogLog++ reads off registers as `moments/seen.rs` fills
them. Hash number k of a set is the finisher of splitmix64 applied to k; a register's place is its top 16 bits.

Usage: python benches/peers/seen.py (needs datasketch and numpy)"""

import json
import pathlib
from importlib.metadata import version

import datasketch
import numpy as np

P = 16


def mixed(x):
    """The finisher of splitmix64, with its constant before, over 64-bit words."""
    z = x + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def registers(n):
    out = np.zeros(1 << P, np.int8)
    hashes = mixed(np.arange(n, dtype=np.uint64))
    rest = (hashes << np.uint64(P)) | np.uint64(1 << (P - 1))
    # zeros before the first one, of 64 bits, and one
    ranks = np.array([64 - int(r).bit_length() + 1 for r in rest], np.int8)
    np.maximum.at(out, (hashes >> np.uint64(64 - P)).astype(np.int64), ranks)
    return out


def count(n):
    return datasketch.HyperLogLogPlusPlus(p=P, reg=registers(n)).count()


cases = [{"n": n, "count": float(count(n))} for n in (5_000, 20_000, 60_000, 150_000, 400_000, 2_000_000)]
path = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "seen.json"
text = {"made_by": f"datasketch {version('datasketch')}", "cases": cases}
path.write_text(json.dumps(text, indent=1) + "\n")
for case in cases:
    print(case["n"], round(case["count"], 1), f"{100 * (case['count'] / case['n'] - 1):+.3f} %")
