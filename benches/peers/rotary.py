"""Writes tests/fixtures/rotary.json: what transformers rotates by. For each configuration and each length of a context (shorter, as long
as, longer than the model was trained on) a new rotary module is called with all positions; the fixture holds its frequencies, what
cosines and sines are multiplied by, and cosines and sines at a few positions.

Usage: python benches/peers/rotary.py (needs torch and transformers)"""

import json
import pathlib
from importlib.metadata import version

import torch
from transformers import GPTNeoXConfig, LlamaConfig, Phi3Config
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.phi3.modeling_phi3 import Phi3RotaryEmbedding

torch.set_num_threads(1)

CLASSES = {
    "llama": (LlamaConfig, LlamaRotaryEmbedding),
    "gpt_neox": (GPTNeoXConfig, GPTNeoXRotaryEmbedding),
    "phi3": (Phi3Config, Phi3RotaryEmbedding),
}
# llama3's bands lie at 64 to 256 positions a turn, so that all three are met by 24 pairs
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 256}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}
D = 48


def factors(by):
    return [round(1.0 + by * i / 11, 3) for i in range(12)]


# name, family, rotary keys, longest context of the configuration, context before the stretch, base, features of a head
CASES = [
    ("default", "llama", {"rope_type": "default"}, 128, 128, 10000.0, D),
    ("linear", "llama", {"rope_type": "linear", "factor": 2.5}, 128, 128, 10000.0, D),
    ("dynamic", "llama", {"rope_type": "dynamic", "factor": 2.0}, 128, 128, 10000.0, D),
    ("dynamic, another base", "llama", {"rope_type": "dynamic", "factor": 3.5}, 96, 96, 500000.0, 16),
    ("dynamic, a quarter of a head", "gpt_neox", {"rope_type": "dynamic", "factor": 2.0, "partial_rotary_factor": 0.25}, 128, 128, 10000.0, 64),
    ("llama3", "llama", LLAMA3, 2048, 256, 500000.0, D),
    ("llama3, narrow band", "llama", LLAMA3 | {"factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 1.5}, 4096, 256, 10000.0, D),
    ("yarn", "llama", YARN, 512, 128, 10000.0, D),
    ("yarn, ends not rounded", "llama", YARN | {"truncate": False}, 512, 128, 10000.0, D),
    ("yarn, other ends", "llama", YARN | {"beta_fast": 16.0, "beta_slow": 2.0}, 512, 128, 1000000.0, D),
    ("yarn, ends that meet", "llama", YARN | {"beta_fast": 2.0, "beta_slow": 2.0, "truncate": False}, 512, 128, 10000.0, D),
    ("yarn, attention given", "llama", YARN | {"attention_factor": 0.8}, 512, 128, 10000.0, D),
    ("yarn, two scales", "llama", YARN | {"mscale": 0.7, "mscale_all_dim": 1.3}, 512, 128, 10000.0, D),
    ("yarn, half of a head", "gpt_neox", YARN | {"partial_rotary_factor": 0.5}, 512, 128, 10000.0, D),
    (
        "longrope", "phi3",
        {"rope_type": "longrope", "short_factor": factors(0.4), "long_factor": factors(20.0)}, 1024, 128, 10000.0, 24,
    ),
    (
        "longrope, attention given", "phi3",
        {"rope_type": "longrope", "short_factor": factors(0.4), "long_factor": factors(20.0), "attention_factor": 1.1}, 1024, 128, 10000.0, 24,
    ),
]


def config_of(family, keys, longest, before, theta, d_head):
    rope = dict(keys) | {"rope_theta": theta}
    common = {"hidden_size": 2 * d_head, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 8}
    out = common | {"max_position_embeddings": longest, "rope_parameters": rope}
    if family != "gpt_neox":
        out["num_key_value_heads"] = 2
    if keys["rope_type"] == "longrope":
        out |= {"original_max_position_embeddings": before, "pad_token_id": 0}
    return out


def read(family, config, n):
    config_class, module_class = CLASSES[family]
    module = module_class(config_class(**config))
    cos, sin = module(torch.zeros(1, n, 1), torch.arange(n)[None])
    half = cos.shape[-1] // 2
    assert torch.equal(cos[..., :half], cos[..., half:])
    return module, cos[0, :, :half], sin[0, :, :half]


def shown(values):
    # nine digits give an f32 back
    return [float(f"{v:.9g}") for v in values.tolist()]


cases = []
for name, family, keys, longest, before, theta, d_head in CASES:
    config = config_of(family, keys, longest, before, theta, d_head)
    lengths = []
    for n in (2, before // 2, before, before + 1, 3 * before):
        module, cos, sin = read(family, config, n)
        positions = sorted({1, n // 3, n - 1})
        lengths.append({
            "n_tokens": n,
            "frequencies": shown(module.inv_freq),
            "attention": float(module.attention_scaling),
            "at": [{"position": p, "cos": shown(cos[p]), "sin": shown(sin[p])} for p in positions],
        })
    cases.append({"name": name, "family": family, "d_head": d_head, "original_context": before, "config": config, "lengths": lengths})

path = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "rotary.json"
text = {"made_by": f"transformers {version('transformers')}", "cases": cases}
path.write_text(json.dumps(text) + "\n")
for case in cases:
    first, last = case["lengths"][0], case["lengths"][-1]
    print(f"{case['name']:32} {last['attention']:.4f} {first['frequencies'][-1]:.3e} {last['frequencies'][-1]:.3e}")
print(path.stat().st_size, "bytes")
