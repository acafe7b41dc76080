"""Debiased CKA by ckatorch, of rows in pairs that belong together and in others, and how far that is above chance.

    python3 benches/peers/cka.py tests/fixtures/cka.json

Values are multiples of 1/256, so that float32 holds them exactly, and holds them exactly with 4096 added. `debiased` is the library's score over
whole Gram matrices (arXiv 2010.15327, Song et al. 2012), `by_hsic` the same by its other function; `draws` the scores of the second side's rows
in other orders; `point` the 38th of 39 of them by size, `calibrated` max(0, (value - point)/(1 - point)).
"""

import json
import sys

import numpy as np
import torch
from ckatorch import cka_base, cka_batch

torch.set_num_threads(1)
rng = np.random.default_rng(7)


def rounded(values):
    return np.round(np.clip(values, -7, 7) * 256) / 256


def score(x, y):
    return cka_base(torch.tensor(x), torch.tensor(y), unbiased=True).item()


out = []
for n, dx, dy, noise in ((40, 6, 9, 0.5), (60, 5, 5, 2.0), (30, 50, 40, 6.0)):
    x = rounded(rng.normal(size=(n, dx)) * np.linspace(0.3, 1.5, dx) + 0.7)
    y = rounded((x @ rng.normal(size=(dx, dy))) / np.sqrt(dx) + noise * rng.normal(size=(n, dy)) - 0.4)
    orders = [rng.permutation(n) for _ in range(39)]
    draws = [score(x, y[order]) for order in orders]
    value, point = score(x, y), float(np.sort(draws)[37])
    one = lambda rows: torch.tensor(rows)[None]
    out.append(
        dict(
            x=x.tolist(),
            y=y.tolist(),
            orders=[order.tolist() for order in orders],
            debiased=value,
            by_hsic=cka_batch(one(x), one(y)).item(),
            biased=cka_base(torch.tensor(x), torch.tensor(y)).item(),
            draws=draws,
            point=point,
            calibrated=max(0.0, (value - point) / (1 - point)),
        )
    )
    print(n, value, out[-1]["by_hsic"], out[-1]["biased"], point, out[-1]["calibrated"])
json.dump(out, open(sys.argv[1], "w"))
