"""How two dictionaries of one model agree, by scipy's assignment and torch's cosines.

    python3 benches/peers/weights.py tests/fixtures/weights.json

PW-MCC (arXiv 2505.20254): mean cosine over the one-to-one pairing with the largest sum; MMCS: mean of each row's highest cosine; shared (arXiv
2501.16615): the share of that pairing whose decoder and encoder cosine are both 0.7 or more. Of two layers of the demo's first model.
"""

import json
import sys

import torch
from safetensors.torch import load_file
from scipy.optimize import linear_sum_assignment

torch.set_num_threads(1)


def rows(layer):
    sae = load_file(f"data/demo/saes/small-a/layers.{layer}/sae.safetensors")
    return sae["W_dec"].double(), sae["encoder.weight"].double()


def cosines(a, b):
    return torch.nn.functional.normalize(a, dim=1) @ torch.nn.functional.normalize(b, dim=1).T


(dec_a, enc_a), (dec_b, enc_b) = rows(1), rows(2)
out = {}
for name, n in (("equal", len(dec_b)), ("narrower", 700)):
    decoder, encoder = cosines(dec_a, dec_b[:n]), cosines(enc_a, enc_b[:n])
    i, j = linear_sum_assignment(decoder.numpy(), maximize=True)
    paired = decoder[i, j]
    out[name] = dict(
        pw_mcc=paired.mean().item(),
        mean_max=[decoder.max(dim=d).values.mean().item() for d in (1, 0)],
        shared=((paired >= 0.7) & (encoder[i, j] >= 0.7)).double().mean().item(),
        first=[decoder[5, 9].item(), encoder[5, 9].item()],
    )
json.dump(out, open(sys.argv[1], "w"), indent=1)
