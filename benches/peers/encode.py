"""Encoding rows with an SAE, Cognate's and torch's, beside the bare product: processor seconds and share of the peak.

Random weights, rows in proportion: 512 to 32768 with top-k 32 (sparsify's layout), and 2304 to 16384 JumpReLU (Gemma Scope's
layout) with thresholds that about 1 in 250 latents pass. torch multiplies, adds the bias, and takes relu and topk, or compares
with the thresholds, in batches of 1024 rows. The bare product is Cognate's own kernel over as many rows (benches/parts.rs).

Writes Markdown to standard output and every figure to --json. Run it with the Python of .venv.
"""

import json
import os
import statistics
import sys

import rig
from rig import HOME, spread

parser = rig.parser(__doc__, rounds=5, work="the SAEs")
parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
parser.add_argument("--rows", type=int, default=2112)
args = parser.parse_args()
rig.wait_passively()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

torch.set_grad_enabled(False)
torch.manual_seed(0)
BATCH = 1024


def topk(folder, d_in, d_sae, k):
    """The SAE, written; and what torch does with a batch."""
    weight = torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=1)
    bias, b_dec = torch.randn(d_sae) * 0.01, torch.randn(d_in) * 0.1
    tensors = {"encoder.weight": weight, "encoder.bias": bias, "W_dec": weight.clone(), "b_dec": b_dec}
    save_file(tensors, f"{folder}/sae.safetensors")
    config = {"activation": "topk", "expansion_factor": d_sae // d_in, "normalize_decoder": True, "num_latents": d_sae, "k": k}
    config |= {"multi_topk": False, "skip_connection": False, "transcode": False, "d_in": d_in}
    with open(f"{folder}/cfg.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    return lambda x: torch.nn.functional.linear(x - b_dec, weight, bias).relu_().topk(k, dim=-1, sorted=False).values.numel()


def jumprelu(folder, d_in, d_sae):
    weight = torch.nn.functional.normalize(torch.randn(d_sae, d_in), dim=1)
    bias, threshold = torch.randn(d_sae) * 0.01, torch.full((d_sae,), 2.65)
    named = {"W_enc": weight.T, "W_dec": weight, "b_enc": bias, "b_dec": torch.zeros(d_in), "threshold": threshold}
    np.savez(f"{folder}/params.npz", **{k: v.contiguous().numpy() for k, v in named.items()})

    def encode(x):
        z = torch.nn.functional.linear(x, weight, bias)
        return int(torch.count_nonzero(z.relu_() * (z > threshold)))

    return encode


binary = args.binary or rig.built()
figures = []
for name, d_in, make in [
    ("512 to 32768, top-k 32", 512, lambda folder: topk(folder, 512, 32768, 32)),
    ("2304 to 16384, JumpReLU", 2304, lambda folder: jumprelu(folder, 2304, 16384)),
]:
    folder = os.path.join(HOME, args.work, f"sae-{d_in}")
    os.makedirs(folder, exist_ok=True)
    encode = make(folder)
    x = torch.randn(args.rows, d_in)
    save_file({"x": x}, f"{folder}/x.safetensors")
    for threads in args.threads:
        torch.set_num_threads(threads)
        for turn in range(args.rounds):
            ours = rig.ask([binary, "encode", folder, f"{folder}/x.safetensors"], threads)

            def all_rows():
                return sum(encode(rows) for rows in x.split(BATCH))

            all_rows()
            theirs, n = rig.timed(all_rows)
            # a few values at the edge of a rank or threshold may round to either side
            if abs(n - ours["latents"]) > 1e-4 * n + 2:
                sys.exit(f"{name}: torch finds {n} latents, Cognate {ours['latents']}")
            figures.append({"sae": name, "threads": threads, "turn": turn, **ours, "torch_cpu_s": theirs})
            print(f"{name}, {threads} threads, round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
            rig.keep(figures, args.json)


print(f"CPU seconds per million rows; medians of {args.rounds} rounds (smallest to largest)\n")
print(
    "| SAE | threads | Cognate, full | screened | torch | the product alone (GFLOP per CPU s) | torch's over full | torch's over screened | full over screened | product's share of full |"
)
print("|---|---|---|---|---|---|---|---|---|---|")
for name, threads in dict.fromkeys((f["sae"], f["threads"]) for f in figures):
    rows = [f for f in figures if (f["sae"], f["threads"]) == (name, threads)]
    per = {k: [f[k] / f["rows"] * 1e6 for f in rows] for k in ("cpu_s", "screened_cpu_s", "torch_cpu_s", "product_cpu_s")}
    print(
        f"| {name} | {threads} | {spread(per['cpu_s'])} | {spread(per['screened_cpu_s'])} | {spread(per['torch_cpu_s'])} | {spread(per['product_cpu_s'])} "
        f"({statistics.median(f['flop'] / f['product_cpu_s'] / 1e9 for f in rows):.0f}) "
        f"| {spread([f['torch_cpu_s'] / f['cpu_s'] for f in rows], 2)} | {spread([f['torch_cpu_s'] / f['screened_cpu_s'] for f in rows], 2)} "
        f"| {spread([f['cpu_s'] / f['screened_cpu_s'] for f in rows], 2)} | {spread([f['product_cpu_s'] / f['cpu_s'] for f in rows], 2)} |"
    )
