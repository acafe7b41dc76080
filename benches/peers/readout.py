"""How much of a latent can be read out of other activations, by numpy's least squares over the rows themselves.

    python3 benches/peers/readout.py tests/fixtures/readout.json

Two halves of the rows: the ridge regression of x on w (intercept free; each dimension's sum of squares times 1 + 1e-3 on the diagonal, as rows put below
the centred ones) is fitted on one and judged on the other, both ways; R² is one minus the errors over both halves' squares about their own means. With
the direction (the regression of w on x, all rows) and the scaling of a decoder row d that leaves the least of w.
"""

import json
import sys

import numpy as np

rng = np.random.default_rng(8)
n, d = 160, 6
w = (rng.normal(size=(n, d)) * np.array([1, 1, 30, 0.2, 1, 1]) + np.array([0, 2, 100, 0, -1, 0])).astype(np.float32)
w[:, 5] = 0.5
wide = w.astype(np.float64)
x = np.maximum(np.stack([wide[:, 0] + wide[:, 1] - 3, 0.1 * (wide[:, 2] - 110), rng.normal(size=n), wide[:, 3] * wide[:, 4]], axis=1), 0)
x = x.astype(np.float32).astype(np.float64)
half = (rng.random(n) < 0.4).astype(int)
decoder = rng.normal(size=(4, d))
out = dict(w=w.tolist(), x=x.tolist(), half=half.tolist(), decoder=decoder.tolist(), r_squared=[], direction=[], scaling=[])
for k in range(4):
    error = total = 0.0
    for fit in (0, 1):
        a, b = half == fit, half != fit
        rows, right = wide[a] - wide[a].mean(0), x[a, k] - x[a, k].mean()
        ridge = np.diag(np.sqrt(1e-3 * (rows**2).sum(0)))
        beta = np.linalg.lstsq(np.vstack([rows, ridge]), np.concatenate([right, np.zeros(d)]), rcond=None)[0]
        predicted = x[a, k].mean() + (wide[b] - wide[a].mean(0)) @ beta
        error += ((x[b, k] - predicted) ** 2).sum()
        total += ((x[b, k] - x[b, k].mean()) ** 2).sum()
    centred = x[:, k] - x[:, k].mean()
    out["r_squared"].append(1 - error / total)
    out["direction"].append(np.linalg.lstsq(centred[:, None], wide - wide.mean(0), rcond=None)[0][0].tolist())
    out["scaling"].append(np.linalg.lstsq(np.outer(x[:, k], decoder[k]).reshape(-1, 1), wide.reshape(-1), rcond=None)[0][0])
json.dump(out, open(sys.argv[1], "w"))
