"""Hidden states and latents on a device, Cognate's beside torch's, of models and SAEs of true shapes with random weights.

    python benches/device/check.py --binary PROGRAM --device cuda:0 --data FOLDER --model pythia-160m=6 --dtype f32 bf16 --json OUT

FOLDER as benches/peers/shapes.py writes it. What is compared: the stream behind the block named, of Cognate on the device and of
transformers on the same device in the same numbers, each beside transformers in f64 on the CPU (which says how far either is from what
is right); then latents that an SAE makes of that f64 stream. Prints one line for each, and keeps every figure in OUT.
"""

import argparse
import json
import os
import subprocess
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel

torch.set_grad_enabled(False)
TORCH = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--binary", required=True)
parser.add_argument("--device", default="cuda:0")
parser.add_argument("--data", required=True)
parser.add_argument("--model", nargs="+", default=["pythia-160m=6"], help="NAME=BLOCK")
parser.add_argument("--dtype", nargs="+", default=["f32", "bf16"])
parser.add_argument("--contexts", type=int, default=8)
parser.add_argument("--length", type=int, default=128)
parser.add_argument("--json")
args = parser.parse_args()


def relative(found, right):
    """Root mean square of the difference over that of `right`."""
    return float((found.double() - right).norm() / right.norm())


def by_torch(folder, ids, block, dtype, device):
    model = AutoModel.from_pretrained(folder, dtype=dtype).eval()
    model.layers = model.layers[: block + 1]
    model.config.num_hidden_layers = block + 1
    model.final_layer_norm = torch.nn.Identity()
    return model.to(device)(ids.to(device), use_cache=False).last_hidden_state.double().cpu()


def cognate(*command):
    how = ["--backend", "candle", "--device", args.device]
    subprocess.run([args.binary, *command, *how], check=True)


def top(x, sae, k):
    """Values and latents of the k largest positive of each row, and all of them."""
    z = torch.relu((x - sae["b_dec"].to(x)) @ sae["encoder.weight"].to(x).T + sae["encoder.bias"].to(x))
    values, latents = z.topk(k, dim=-1)
    return torch.zeros_like(z).scatter_(-1, latents, values)


figures = []
for entry in args.model:
    name, block = entry.split("=")
    block = int(block)
    folder, sae_folder = f"{args.data}/models/{name}", f"{args.data}/saes/{name}/layers.{block}"
    ids = torch.randint(0, 4096, (args.contexts, args.length), generator=torch.Generator().manual_seed(7))
    right = by_torch(folder, ids, block, torch.float64, "cpu")
    sae = load_file(f"{sae_folder}/sae.safetensors")
    with open(f"{sae_folder}/cfg.json", encoding="utf-8") as file:
        k = json.load(file)["k"]
    x = right.float().flatten(0, 1)
    right_latents = top(x.double(), sae, k)
    with tempfile.TemporaryDirectory() as work:
        save_file({"input_ids": ids}, f"{work}/ids.safetensors")
        save_file({"x": x}, f"{work}/x.safetensors")
        for dtype in args.dtype:
            out = f"{work}/{dtype}.safetensors"
            place = f"resid_post.{block}"
            cognate("activations", "--model", folder, "--tokens", f"{work}/ids.safetensors", "--hookpoints", place, "--out", out, "--dtype", dtype)
            ours = load_file(out)[place]
            theirs = by_torch(folder, ids, block, TORCH[dtype], args.device)
            cognate("encode", "--sae", sae_folder, "--input", f"{work}/x.safetensors", "--out", out, "--dtype", dtype)
            latents = load_file(out)["latents"].double()
            sae_there = {key: value.to(args.device, TORCH[dtype]) for key, value in sae.items()}
            their_latents = top(x.to(args.device, TORCH[dtype]), sae_there, k).double().cpu()

            def same(found):
                return float(((found != 0) & (right_latents != 0)).sum() / (right_latents != 0).sum())

            row = {
                "model": name,
                "block": block,
                "device": args.device,
                "dtype": dtype,
                "hidden_ours": relative(ours, right),
                "hidden_torch": relative(theirs, right),
                "latents_ours": relative(latents, right_latents),
                "latents_torch": relative(their_latents, right_latents),
                "same_latents_ours": same(latents),
                "same_latents_torch": same(their_latents),
            }
            figures.append(row)
            print(
                f"{name} block {block} {dtype} on {args.device}: hidden off by {row['hidden_ours']:.2e} (torch {row['hidden_torch']:.2e}), "
                f"latents by {row['latents_ours']:.2e} (torch {row['latents_torch']:.2e}), "
                f"the same latents {row['same_latents_ours']:.4f} (torch {row['same_latents_torch']:.4f})",
                flush=True,
            )
    if args.json:
        os.makedirs(os.path.dirname(os.path.abspath(args.json)), exist_ok=True)
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=1)
