"""Maps between two sets of activations, by scikit-learn's ridge and scipy's orthogonal Procrustes over the rows themselves.

    python3 benches/peers/stitching.py tests/fixtures/stitching.json

Two halves of the rows; each map is fitted on one and judged on the other, both ways: R² is one minus the errors over both halves' squares about their
own means, all dimensions together, in units of the fit: as they are, or of each dimension's standard deviation in the half that is fitted (a flat
dimension as it is). The ridge is 1e-3 of the mean variance. `whole`: the least-squares map of all rows, and the cosine of directions under it.
"""

import json
import sys

import numpy as np
from scipy.linalg import orthogonal_procrustes
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

RIDGE = 1e-3
rng = np.random.default_rng(11)
n, d = 170, 5
x = (rng.normal(size=(n, d)) * np.array([1, 1, 30, 0.2, 1]) + np.array([0, 2, 100, 0, -1])).astype(np.float32)
x[:, 4] = 0.5
mix = rng.normal(size=(d, d)) * np.array([1, 20, 1, 0.3, 1])
same = (x @ mix + 0.3 * rng.normal(size=(n, d)) * np.array([1, 20, 1, 1, 1]) + 3).astype(np.float32)
wide = (np.tanh(x @ rng.normal(size=(d, 7)) / 20) + 0.1 * rng.normal(size=(n, 7))).astype(np.float32)
half = (rng.random(n) < 0.4).astype(int)


def scalers(units, a, b):
    on = dict(with_mean=True, with_std=units == "std")
    return StandardScaler(**on).fit(a), StandardScaler(**on).fit(b)


def least_squares(a, b):
    share = RIDGE * a.var(0).sum() / a.shape[1] * len(a)
    return Ridge(alpha=share, fit_intercept=False).fit(a, b).coef_


def orthogonal(a, b):
    rotation, nuclear = orthogonal_procrustes(a, b)
    return (rotation * nuclear / (a**2).sum()).T


def r_squared(a, b, units, fit):
    error = total = 0.0
    for side in (0, 1):
        fitted, judged = half == side, half != side
        of_a, of_b = scalers(units, a[fitted], b[fitted])
        weight = fit(of_a.transform(a[fitted]), of_b.transform(b[fitted]))
        right = of_b.transform(b[judged])
        error += ((right - of_a.transform(a[judged]) @ weight.T) ** 2).sum()
        total += ((right - right.mean(0)) ** 2).sum()
    return 1 - error / total


out = dict(x=x.tolist(), half=half.tolist(), targets={})
x = x.astype(np.float64)
for name, y in (("same", same), ("wide", wide)):
    y64 = y.astype(np.float64)
    here = dict(y=y.tolist())
    for units in ("raw", "std"):
        both = [[x, y64], [y64, x]]
        here[units] = dict(least_squares=[r_squared(a, b, units, least_squares) for a, b in both])
        if name == "same":
            here[units]["orthogonal"] = [r_squared(a, b, units, orthogonal) for a, b in both]
        of_x, of_y = scalers(units, x, y64)
        weight = least_squares(of_x.transform(x), of_y.transform(y64))
        ones = lambda scaler, a: scaler.scale_ if scaler.scale_ is not None else np.ones(a.shape[1])
        plain = ones(of_y, y64)[:, None] * weight / ones(of_x, x)
        here[units]["weight"] = plain.tolist()
        here[units]["bias"] = (y64.mean(0) - plain @ x.mean(0)).tolist()
        direction, other = np.arange(1.0, d + 1), np.cos(np.arange(y.shape[1]))
        mapped, other = plain @ direction / ones(of_y, y64), other.astype(np.float32) / ones(of_y, y64)
        here[units]["cosine"] = mapped @ other / np.linalg.norm(mapped) / np.linalg.norm(other)
    out["targets"][name] = here
json.dump(out, open(sys.argv[1], "w"))
