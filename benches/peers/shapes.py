"""Models and SAEs of true shapes with random weights, for measuring where no real ones are at hand.

    python benches/peers/shapes.py --out runs/shapes [--layers pythia-70m=3 pythia-160m=6] [--d-sae 32768] [--k 32]

GPT-NeoX checkpoints of Pythia's sizes in Hugging Face layout (f16, as Pythia's are stored; the tokenizer is the demo's, the
vocabulary Pythia's) and sparsify SAEs at the blocks named. Speed and memory are those of real weights; the latents mean
nothing. Every tensor is drawn from a seed of its own name, so that the same call writes the same bytes.
"""

import argparse
import json
import os
import shutil
import zlib

import numpy as np
from safetensors.numpy import save_file

SHAPES = {
    "pythia-70m": dict(d=512, layers=6, heads=8, mlp=2048),
    "pythia-160m": dict(d=768, layers=12, heads=12, mlp=3072),
    "pythia-410m": dict(d=1024, layers=24, heads=16, mlp=4096),
    # a model of two billion parameters, as wide and deep as such are
    "wide-2b": dict(d=2304, layers=26, heads=18, mlp=9216),
}
VOCAB = 50304
# draws once and repeats it where a tensor is larger: the time is that of any numbers
MOST_DRAWN = 1 << 25
DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../data/demo/models/small-a")


def draw(name, shape, sd):
    n, stream = int(np.prod(shape)), np.random.default_rng(zlib.crc32(name.encode()))
    if n <= MOST_DRAWN:
        return stream.standard_normal(shape, dtype=np.float32) * np.float32(sd)
    # rows turned by their number, so that no two are equal
    drawn = stream.standard_normal(MOST_DRAWN, dtype=np.float32) * np.float32(sd)
    return np.resize(drawn, n + n // MOST_DRAWN * 7)[-n:].reshape(shape)


def write_model(folder, name):
    s = SHAPES[name]
    d, mlp = s["d"], s["mlp"]
    os.makedirs(folder, exist_ok=True)
    t = {"gpt_neox.embed_in.weight": draw(f"{name} embed", (VOCAB, d), 0.5)}
    for side in ("gpt_neox.final_layer_norm",):
        t[f"{side}.weight"], t[f"{side}.bias"] = np.ones(d, np.float32), np.zeros(d, np.float32)
    for layer in range(s["layers"]):
        at = f"gpt_neox.layers.{layer}"
        for norm in ("input_layernorm", "post_attention_layernorm"):
            t[f"{at}.{norm}.weight"], t[f"{at}.{norm}.bias"] = np.ones(d, np.float32), np.zeros(d, np.float32)
        for part, n_out, n_in in (
            ("attention.query_key_value", 3 * d, d),
            ("attention.dense", d, d),
            ("mlp.dense_h_to_4h", mlp, d),
            ("mlp.dense_4h_to_h", d, mlp),
        ):
            t[f"{at}.{part}.weight"] = draw(f"{name} {layer} {part}", (n_out, n_in), n_in**-0.5)
            t[f"{at}.{part}.bias"] = draw(f"{name} {layer} {part} bias", (n_out,), 0.1)
    save_file({k: v.astype(np.float16) for k, v in t.items()}, f"{folder}/model.safetensors", {"format": "pt"})
    config = {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "hidden_size": d,
        "num_hidden_layers": s["layers"],
        "num_attention_heads": s["heads"],
        "intermediate_size": mlp,
        "vocab_size": VOCAB,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": 2048,
        "rotary_emb_base": 10000,
        "rotary_pct": 0.25,
        "use_parallel_residual": True,
        "tie_word_embeddings": False,
        "torch_dtype": "float16",
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copy(f"{DEMO}/{name}", f"{folder}/{name}")


def write_sae(folder, name, layer, d_sae, k):
    d = SHAPES[name]["d"]
    os.makedirs(folder, exist_ok=True)
    w = draw(f"{name} sae {layer} {d_sae}", (d_sae, d), 1.0)
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    bias = draw(f"{name} sae {layer} bias", (d_sae,), 0.05)
    tensors = {"encoder.weight": w, "encoder.bias": bias, "W_dec": w, "b_dec": np.zeros(d, np.float32)}
    save_file(tensors, f"{folder}/sae.safetensors")
    cfg = dict(activation="topk", expansion_factor=32, normalize_decoder=True, num_latents=d_sae, k=k, multi_topk=False)
    with open(f"{folder}/cfg.json", "w", encoding="utf-8") as file:
        json.dump({**cfg, "skip_connection": False, "transcode": False, "d_in": d}, file)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", default="runs/shapes")
    parser.add_argument("--layers", nargs="+", default=["pythia-70m=3", "pythia-160m=6"], help="MODEL=BLOCK,BLOCK… or MODEL=all")
    parser.add_argument("--d-sae", type=int, default=32768)
    parser.add_argument("--k", type=int, default=32)
    args = parser.parse_args()
    for entry in args.layers:
        name, blocks = entry.split("=")
        if not os.path.exists(f"{args.out}/models/{name}/config.json"):
            write_model(f"{args.out}/models/{name}", name)
        blocks = range(SHAPES[name]["layers"]) if blocks == "all" else [int(b) for b in blocks.split(",")]
        for layer in blocks:
            folder = f"{args.out}/saes/{name}/layers.{layer}"
            if not os.path.exists(f"{folder}/cfg.json"):
                write_sae(folder, name, layer, args.d_sae, args.k)
