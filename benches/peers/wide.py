#!/usr/bin/env python3
"""Random weights of true shapes, and the dataflow files over them: Pythia-70m and 160m with an SAE of 32 768 latents behind
every block (6 x 12 pairs). Python's own library only.

    benches/peers/wide.py FOLDER [--latents 32768] [--tokens 20000]
    cognate run FOLDER/sketch.toml --out FOLDER/run
"""
import argparse
import json
import os
import struct
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
MODELS = {"pythia-70m": (6, 512, 8, 2048), "pythia-160m": (12, 768, 12, 3072)}


def random_f16(n, exponent):
    """n values of random sign in 2**exponent times [1, 2), little-endian."""
    top = [(0x80 if b & 4 else 0) | (exponent + 15) << 2 | b & 3 for b in range(256)]
    out = bytearray(2 * n)
    out[0::2] = os.urandom(n)
    out[1::2] = os.urandom(n).translate(bytes(top))
    return bytes(out)


def write(path, tensors):
    """A safetensors file of f16 tensors: name, shape, and what they hold ("random" or a constant)."""
    header, at = {}, 0
    for name, shape, _ in tensors:
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape, what in tensors:
            n = shape[0] * (shape[1] if len(shape) > 1 else 1)
            file.write(random_f16(n, -5) if what == "random" else struct.pack("<e", what) * n)


def model(folder, layers, d, heads, inner):
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = HERE / "data/demo/models/small-a"
    for name in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]:
        (folder / name).write_bytes((tokenizer / name).read_bytes())
    config = json.loads((tokenizer / "config.json").read_text())
    config.update(hidden_size=d, intermediate_size=inner, num_hidden_layers=layers, num_attention_heads=heads,
                  vocab_size=50304, max_position_embeddings=2048, tie_word_embeddings=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = [("gpt_neox.embed_in.weight", [50304, d], "random")]
    norm = lambda name: [(f"{name}.weight", [d], 1.0), (f"{name}.bias", [d], 0.0)]
    linear = lambda name, n, m: [(f"{name}.weight", [n, m], "random"), (f"{name}.bias", [n], 0.0)]
    for layer in range(layers):
        at = f"gpt_neox.layers.{layer}"
        tensors += norm(f"{at}.input_layernorm") + norm(f"{at}.post_attention_layernorm")
        tensors += linear(f"{at}.attention.query_key_value", 3 * d, d) + linear(f"{at}.attention.dense", d, d)
        tensors += linear(f"{at}.mlp.dense_h_to_4h", inner, d) + linear(f"{at}.mlp.dense_4h_to_h", d, inner)
    write(folder / "model.safetensors", tensors + norm("gpt_neox.final_layer_norm"))


def sae(folder, d, latents):
    folder.mkdir(parents=True, exist_ok=True)
    config = dict(activation="topk", expansion_factor=latents // d, normalize_decoder=True, num_latents=latents, k=32,
                  multi_topk=False, skip_connection=False, transcode=False, d_in=d)
    (folder / "cfg.json").write_text(json.dumps(config))
    write(folder / "sae.safetensors", [("W_dec", [latents, d], "random"), ("b_dec", [d], 0.0),
                                       ("encoder.bias", [latents], 0.0), ("encoder.weight", [latents, d], "random")])


def flow(folder, name, compare, tokens, sites, every):
    text = f"""format = 1
name = "{name}"
[corpus]
files = ["{HERE}/data/demo/corpus.jsonl"]
context_length = 256
batch_contexts = 8
max_tokens = {tokens}
"""
    for name in MODELS:
        text += f'[models.{name}]\npath = "{folder / name}"\n'
    for name, layer in sites:
        text += f'[saes."{name}/resid_post.{layer}"]\npath = "{folder}/saes/{name}/layers.{layer}"\n'
    text += f"""[compare]
pairs = "all"
{compare}
[estimate]
snapshot_every = {every}
best = 1
top_tokens = 3
filters = {{ min_active = 10, min_correlation = 0.1 }}
[checkpoint]
every = {tokens}
"""
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latents", type=int, default=32768)
    parser.add_argument("--tokens", type=int, default=20000)
    options = parser.parse_args()
    folder = options.folder.resolve()
    sites = []
    for name, (layers, d, heads, inner) in MODELS.items():
        if not (folder / name / "config.json").exists():
            model(folder / name, layers, d, heads, inner)
        for layer in range(layers):
            sites.append((name, layer))
            if not (folder / "saes" / name / f"layers.{layer}" / "cfg.json").exists():
                sae(folder / "saes" / name / f"layers.{layer}", d, options.latents)
    sketch = 'cross = "sketch"\nwidth = 512\ncandidates = 5'
    half = max(options.tokens // 2, 1)
    (folder / "sketch.toml").write_text(flow(folder, "sketch", sketch, options.tokens, sites, half))
    (folder / "auto.toml").write_text(flow(folder, "auto", sketch.replace('"sketch"', '"auto"'), options.tokens, sites, half))
    (folder / "exact.toml").write_text(flow(folder, "exact", 'cross = "exact"', options.tokens, sites, half))
    two = [s for s in sites if s in (("pythia-70m", 3), ("pythia-160m", 6))]
    (folder / "pair.toml").write_text(flow(folder, "pair", 'cross = "exact"', options.tokens, two, half))


main()
