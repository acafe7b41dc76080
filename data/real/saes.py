#!/usr/bin/env python3
"""Trains two SAEs for each of two real language models, SmolLM2-135M-Instruct and Gemma 3 270M, for dataflows/smollm2-gemma3.toml.

    data/real/saes.py [smollm2] [gemma3]       (nothing named: both)

Needs the models (data/real/fetch.sh), a corpus (data/real/corpus.py, or --corpus FILE: JSON lines with "text"), the program (on PATH, or
--cognate PROGRAM), and torch, transformers, gguf, safetensors and numpy. On one core some 35 minutes per hookpoint, 4 GB of memory, and
4 GB of disk while it works; run again, it goes on behind what is done.

TopK SAEs of 4 096 latents, k = 32, in sparsify's layout at f16: data/real/saes/MODEL/HOOKPOINT/. They are small and quickly trained:
real enough to compare, not to be published as SAEs. Activations are the program's own (`cognate activations`), of contexts of 128 tokens; BOS
is left out, as are rows of more than six times the median norm.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

HERE = os.path.dirname(os.path.abspath(__file__))
MODELS = {
    "smollm2": ("SmolLM2-135M-Instruct.Q4_1.gguf", ["resid_post.9", "resid_post.19"]),
    "gemma3": ("gemma-3-270m-q4_k_m.gguf", ["resid_post.5", "resid_post.11"]),
}
LATENTS, K, EPOCHS, BATCH, CONTEXT = 4096, 32, 3, 2048, 128
PART = 700  # contexts whose activations are taken at once
# passes without a firing after which a latent counts as dead, and the share of the loss that dead latents get
DEAD, AUXILIARY = 60, 1 / 16

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("models", nargs="*", metavar="MODEL", help="smollm2, gemma3")
parser.add_argument("--corpus", default=os.path.join(HERE, "corpus.jsonl"), help="JSON lines with \"text\"")
parser.add_argument("--tokens", type=int, default=900_000, help="tokens that are trained on")
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--cognate", default="cognate", metavar="PROGRAM")
parser.add_argument("--out", default=os.path.join(HERE, "saes"), metavar="DIR")
parser.add_argument("--work", default=os.path.join(HERE, "saes.work"), metavar="DIR", help="activations; may be deleted afterwards")
args = parser.parse_args()


def contexts(gguf):
    """Token ids [n, CONTEXT], BOS before each."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(HERE, gguf_file=gguf)
    rows, new = [], CONTEXT - 1
    with open(args.corpus, encoding="utf-8") as lines:
        for line in lines:
            ids = tokenizer(json.loads(line)["text"], add_special_tokens=False)["input_ids"]
            rows += [[tokenizer.bos_token_id] + ids[at : at + new] for at in range(0, len(ids) - new + 1, new)]
            if len(rows) * new >= args.tokens:
                break
    return np.array(rows, dtype=np.int32)


def activations(name, gguf, hookpoints):
    """For each hookpoint its files of activations [rows, d_model] in bf16."""
    work = os.path.join(args.work, name)
    os.makedirs(work, exist_ok=True)
    ids_file = os.path.join(work, "ids.npy")
    if not os.path.exists(ids_file):
        np.save(ids_file, contexts(gguf))
    ids = np.load(ids_file)
    parts = {h: [os.path.join(work, f"{h}.{at}.safetensors") for at in range(0, len(ids), PART)] for h in hookpoints}
    started = time.time()
    for number, at in enumerate(range(0, len(ids), PART)):
        if all(os.path.exists(parts[h][number]) for h in hookpoints):
            continue
        tokens, out = os.path.join(work, "in.safetensors"), os.path.join(work, "out.safetensors")
        save_numpy({"input_ids": ids[at : at + PART]}, tokens)
        command = [args.cognate, "activations", "--model", os.path.join(HERE, gguf), "--tokens", tokens, "--hookpoints", ",".join(hookpoints)]
        subprocess.run([*command, "--out", out], check=True, stdout=subprocess.DEVNULL)
        read = load_file(out)
        for h in hookpoints:
            rows = read[h][:, 1:].reshape(-1, read[h].shape[-1]).to(torch.bfloat16)
            save_file({"rows": rows.contiguous()}, parts[h][number] + ".new")
            os.replace(parts[h][number] + ".new", parts[h][number])
        print(f"{name}: activations of {min(at + PART, len(ids))} of {len(ids)} contexts, {time.time() - started:.0f} s", flush=True)
    return parts


def train(rows, label):
    """An SAE of `rows` [n, d]: tensors in sparsify's names, and its last FVU. Trained on (row − mean) / scale, which is then folded in."""
    draw = torch.Generator().manual_seed(args.seed)
    norms = rows.float().norm(dim=1)
    rows = rows[norms < 6 * norms.median()]
    some = rows[torch.randperm(len(rows), generator=draw)[:20_000]].float()
    mean = some.mean(0)
    d = rows.shape[1]
    scale = (some - mean).norm(dim=1).mean() / d**0.5
    decoder = normalize(torch.randn(LATENTS, d, generator=draw), dim=1)
    encoder = decoder.clone().requires_grad_()
    decoder = decoder.requires_grad_()
    bias, centre = torch.zeros(LATENTS, requires_grad=True), torch.zeros(d, requires_grad=True)
    adam = torch.optim.Adam([encoder, bias, decoder, centre], lr=1e-3, fused=True)
    per_epoch = len(rows) // BATCH
    steps, silent, fvu, started = EPOCHS * per_epoch, torch.zeros(LATENTS), None, time.time()
    for step in range(steps):
        if step % per_epoch == 0:
            order = torch.randperm(len(rows), generator=draw)
        for group in adam.param_groups:
            group["lr"] = 1e-3 * min(1, (step + 1) / 50) * min(1, (steps - step) / (0.3 * steps))
        at = step % per_epoch * BATCH
        x = (rows[order[at : at + BATCH]].float() - mean) / scale
        variance = (x - x.mean(0)).pow(2).sum()
        values, which = torch.relu((x - centre) @ encoder.T + bias).topk(K, dim=1)
        error = x - (torch.zeros(len(x), LATENTS).scatter_(1, which, values) @ decoder + centre)
        fvu = error.pow(2).sum() / variance
        silent += 1
        silent[which[values > 0].unique()] = 0
        loss, dead = fvu, silent > DEAD
        if dead.any():
            # what is left of the row, by latents that no longer fire
            idle = torch.relu((x - centre) @ encoder[dead].T + bias[dead])
            values, which = idle.topk(min(64, int(dead.sum())), dim=1)
            rest = torch.zeros_like(idle).scatter_(1, which, values) @ decoder[dead]
            loss = loss + AUXILIARY * (error.detach() - rest).pow(2).sum() / variance
        adam.zero_grad()
        loss.backward()
        with torch.no_grad():
            decoder.grad -= (decoder.grad * decoder).sum(1, keepdim=True) * decoder
        adam.step()
        with torch.no_grad():
            decoder /= decoder.norm(dim=1, keepdim=True)
        if step % 100 == 0:
            print(f"{label}: step {step} of {steps}, FVU {fvu.item():.4f}, {int(dead.sum())} dead, {time.time() - started:.0f} s", flush=True)
    with torch.no_grad():
        tensors = {"encoder.weight": encoder, "encoder.bias": scale * bias, "W_dec": decoder, "b_dec": mean + scale * centre}
    # the encoder takes raw rows, so its latents come out `scale` times as large, and W_dec stays of unit norm
    return {name: t.detach().half().contiguous() for name, t in tensors.items()}, fvu.item(), steps, len(rows), time.time() - started


def main():
    unknown = set(args.models) - set(MODELS)
    if unknown:
        sys.exit(f"saes.py: unknown model {sorted(unknown)[0]}; there are {', '.join(MODELS)}")
    if not os.path.exists(args.corpus):
        sys.exit(f"saes.py: there is no {args.corpus}; run data/real/corpus.py, or name a file with --corpus")
    for name in args.models or MODELS:
        gguf, hookpoints = MODELS[name]
        if not os.path.exists(os.path.join(HERE, gguf)):
            sys.exit(f"saes.py: there is no data/real/{gguf}; run data/real/fetch.sh {name}")
        missing = [h for h in hookpoints if not os.path.exists(os.path.join(args.out, name, h, "log.json"))]
        if not missing:
            print(f"{name}: its SAEs are there")
            continue
        parts = activations(name, gguf, hookpoints)
        for h in missing:
            rows = torch.cat([load_file(part)["rows"] for part in parts[h]])
            tensors, fvu, steps, n, seconds = train(rows, f"{name} {h}")
            folder = os.path.join(args.out, name, h)
            os.makedirs(folder, exist_ok=True)
            save_file(tensors, os.path.join(folder, "sae.safetensors"))
            config = {"activation": "topk", "num_latents": LATENTS, "k": K, "d_in": tensors["b_dec"].numel(), "normalize_decoder": True,
                      "multi_topk": False, "skip_connection": False, "transcode": False}
            log = {"fvu": fvu, "steps": steps, "tokens": n, "seconds": seconds, "seed": args.seed}
            for file, content in (("cfg.json", config), ("log.json", log)):
                with open(os.path.join(folder, file), "w", encoding="utf-8") as out:
                    json.dump(content, out)
            print(f"{folder}: FVU {fvu:.3f}")


main()
