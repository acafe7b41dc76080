"""Every key of every family's configuration, absent, null, at its default and at another value, by transformers itself.

    python benches/peers/config_keys.py tests/fixtures/config_keys [FAMILY…]

For each family a tiny model with seeded weights is saved. Then its `config.json` is edited, a key at a time, the folder is opened
again with `AutoModel.from_pretrained`, so that what the file says counts, and one context goes through: what the last block gives is
the answer. Keys are those of the family's configuration class, of its base class, those that its code asks for by name, and those of
transformers 4. Rotations are gone through in every kind, in the key names of transformers 4 and 5 and in mixtures of both.

Writes FAMILY.safetensors (the weights, f16), FAMILY.expected.safetensors (each distinct answer once, f32) and FAMILY.json: the base
configuration, the ids, what the class reads, and the cases, each with its edit and its answer: `same` as the base, the name of a
tensor, or why there is none (`refuses`, `incomplete` where weights were missing and drawn at random, `not finite`).
tests/models/config_keys.rs goes through them. Needs torch, transformers 5 and safetensors.
"""

import copy
import dataclasses
import inspect
import json
import logging
import os
import re
import sys
import tempfile
import warnings
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

torch.set_num_threads(1)
warnings.filterwarnings("ignore")
transformers.utils.logging.set_verbosity(logging.CRITICAL)
transformers.utils.logging.disable_progress_bar()

N_TOKENS = 16
LINE = dict(hidden_size=32, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, vocab_size=40, max_position_embeddings=64)
GROUPED = dict(LINE, num_key_value_heads=2, head_dim=8)

# The sizes of each tiny model; all else is the class's default.
FAMILIES = {
    "gpt_neox": dict(LINE, rope_parameters={"rope_type": "default", "rope_theta": 10000, "partial_rotary_factor": 0.75}),
    "gpt2": dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=24, vocab_size=40),
    "gpt_neo": dict(hidden_size=32, num_layers=2, num_heads=4, max_position_embeddings=64, intermediate_size=24, vocab_size=40, attention_types=[[["global", "local"], 1]], window_size=6),
    "opt": dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, ffn_dim=24, vocab_size=40),
    "llama": dict(GROUPED),
    "mistral": dict(GROUPED, sliding_window=6),
    "qwen2": {**{k: v for k, v in GROUPED.items() if k != "head_dim"}, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
    "qwen3": dict(GROUPED, use_sliding_window=True, sliding_window=6, max_window_layers=1),
    "gemma": dict(GROUPED),
    "gemma2": dict(GROUPED, sliding_window=6, query_pre_attn_scalar=8, attn_logit_softcapping=2.0),
    "gemma3_text": dict(GROUPED, sliding_window=6, query_pre_attn_scalar=8, layer_types=["sliding_attention", "full_attention"]),
    "phi": dict(LINE, num_key_value_heads=2),
    "phi3": {"pad_token_id": 0, **{k: v for k, v in GROUPED.items() if k != "head_dim"}, "sliding_window": 6},
    "olmo2": {k: v for k, v in GROUPED.items() if k != "head_dim"},
    "smollm3": {"pad_token_id": 0, **{k: v for k, v in GROUPED.items() if k != "head_dim"}, "no_rope_layers": [0, 1], "use_sliding_window": True, "sliding_window": 6},
    "starcoder2": {**{k: v for k, v in GROUPED.items() if k != "head_dim"}, "sliding_window": 6},
    "gptj": dict(n_embd=32, n_layer=2, n_head=4, n_positions=64, n_inner=24, rotary_dim=4, vocab_size=40),
    "falcon": dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_hidden_size=24, vocab_size=40, max_position_embeddings=64),
}

# Keys of transformers 4, of other libraries and of other families, and a value of each.
OUTSIDE = {
    "rope_theta": 5000.0,
    "rotary_emb_base": 5000,
    "rotary_pct": 0.5,
    "partial_rotary_factor": 0.5,
    "rope_scaling": {"rope_type": "linear", "factor": 3.0},
    "original_max_position_embeddings": 16,
    "sliding_window_pattern": 2,
    "_sliding_window_pattern": 2,
    "rope_local_base_freq": 500.0,
    "hidden_act": "relu",
    "hidden_activation": "relu",
    "head_dim": 16,
    "attention_layers": ["local", "global"],
    "layer_types": ["full_attention", "sliding_attention"],
    "sliding_window": 5,
    "use_sliding_window": True,
    "attn_logit_softcapping": 3.0,
    "query_pre_attn_scalar": 4,
    "is_causal": False,
    "use_bidirectional_attention": True,
    "is_decoder": True,
    "torch_dtype": "float16",
    "attn_implementation": "sdpa",
    "_attn_implementation": "sdpa",
    "output_attentions": True,
    "use_return_dict": False,
    "torchscript": True,
    "tie_last_hidden_states": True,
    "gradient_checkpointing": True,
    "per_layer_config": {},
    "transformers_weights": "other.safetensors",
    "quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "pretraining_tp": 2,
    "num_labels": 3,
    "temperature": 0.5,
    "max_length": 33,
    "finetuning_task": "x",
    "auto_map": {"AutoConfig": "configuration_x.XConfig"},
    "_name_or_path": "a/b",
    "n_ctx": 32,
    "note_of_the_author": {"any": "thing"},
}

# Other values, where one that differs in kind is needed; else a value of the same type is made up.
OTHERS = {
    "activation_function": ["relu", "silu", "gelu_fast", "quick_gelu", "swish"],
    "hidden_act": ["relu", "silu", "gelu", "gelu_new", "gelu_python", "quick_gelu"],
    "hidden_activation": ["relu", "silu", "gelu", "gelu_new"],
    "hidden_size": [16],
    "n_embd": [16],
    "intermediate_size": [48],
    "n_inner": [48],
    "ffn_dim": [48],
    "head_dim": [8, 16],
    "num_hidden_layers": [1, 3],
    "n_layer": [1, 3],
    "num_layers": [1, 3],
    "num_attention_heads": [2, 8],
    "n_head": [2, 8],
    "num_heads": [2, 8],
    "num_key_value_heads": [1, 4],
    "vocab_size": [41],
    "max_position_embeddings": [12, 128],
    "n_positions": [128],
    "layer_types": [["full_attention", "sliding_attention"], ["full_attention", "full_attention"], ["full_attention"], ["full_attention", "chunked_attention"]],
    "attention_types": [[[["local", "global"], 1]], [[["global"], 2]], [[["global", "local"], 2]]],
    "sliding_window": [3, 0, 100],
    "window_size": [3, 100],
    "max_window_layers": [0, 2],
    "no_rope_layers": [[1, 0], [1, 1], [1, 0, 1], [1]],
    "no_rope_layer_interval": [1, 2],
    "rotary_dim": [2, 8, 5],
    "num_kv_heads": [1, 4],
    "num_ln_in_parallel_attn": [1, 2],
    "ffn_hidden_size": [48],
    "alibi": [True],
    "activation": ["relu", "gelu_new"],
    "word_embed_proj_dim": [16],
    "attn_logit_softcapping": [3.0, 0.0],
    "query_pre_attn_scalar": [4, 0.5],
    "dtype": ["float16"],
    "problem_type": ["regression"],
    "architectures": [["X"]],
    "transformers_version": ["4.46.0"],
    "rope_parameters": [],  # below
    "id2label": [{"0": "a"}],
    "label2id": [{"a": 0}],
    "eos_token_id": [3, [3, 4]],
    "pad_token_id": [3],
    "rms_norm_eps": [0.5, 0],
    "layer_norm_eps": [0.5, 0],
    "layer_norm_epsilon": [0.5, 0],
    "is_causal": [True, False],
    "use_bidirectional_attention": [False, True],
}

SKIP = {"get_text_config", "text_config", "vision_config", "image_token_id", "mm_tokens_per_image", "model_type", "to_dict", "sub_configs"}


def seeded(model):
    """Weights that make every part matter: products of some size, norms away from 1; rounded to f16."""
    generator = torch.Generator().manual_seed(15)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name or ".ln_" in name:
                is_gemma = model.config.model_type.startswith("gemma")
                p.copy_(noise * 0.2 + (1.0 if name.endswith("weight") and not is_gemma else 0.0))
            elif "embed" in name or "wte" in name or "wpe" in name:
                p.copy_(noise)
            else:
                p.copy_(noise * (0.35 if p.dim() == 2 else 0.2))
            p.copy_(p.half().float())


def answer(folder, ids):
    """(what the last block gives, None) or (None, why not)."""
    try:
        model, info = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        if info["missing_keys"] or info["mismatched_keys"]:
            return None, "incomplete"
        model.eval()
        decoder = getattr(model, "decoder", model)
        blocks = getattr(decoder, "layers", None) or decoder.h
        taken = {}
        blocks[-1].register_forward_hook(lambda _m, _i, out: taken.update(x=out[0] if isinstance(out, tuple) else out))
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)
        x = taken["x"].reshape(ids.shape[1], -1).float().clone()
        return (x, None) if torch.isfinite(x).all() else (None, "not finite")
    except Exception as e:  # whatever it is, the library has no answer
        return None, f"refuses: {type(e).__name__}"


def equal(x, y):
    """Whether two answers are one: another kernel sums in another order, which is worth some 1e-6 of the root mean square."""
    return x.shape == y.shape and (x - y).abs().max() <= 5e-6 * y.square().mean().sqrt()


def asked_for(cls):
    """Names that the family's code asks its configuration for."""
    module = inspect.getmodule(cls)
    path = Path(module.__file__)
    names = set()
    for file in [path, *path.parent.glob("modeling_*.py")]:
        text = file.read_text()
        names |= set(re.findall(r"config\.([a-zA-Z_]+)\b(?!\()", text)) | set(re.findall(r"getattr\((?:self\.)?config, \"(\w+)\"", text))
        names |= set(re.findall(r"kwargs\.(?:pop|get|setdefault)\(\"(\w+)\"", text))
    masks = Path(transformers.__file__).parent / "masking_utils.py"
    names |= set(re.findall(r"getattr\(config, \"(\w+)\"", masks.read_text()))
    return {n for n in names if not n.startswith("_attn") and n not in SKIP}


def others(key, value):
    """Values that are not `value`."""
    if key in OTHERS:
        return OTHERS[key]
    if key in OUTSIDE:
        return [OUTSIDE[key]]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1]
    if isinstance(value, float):
        return [value + 0.1]
    if isinstance(value, str):
        return [value + "x"]
    return [1]


def rotations(base, family):
    """(name, edit) of every kind of rotation, in old names, new names and both."""
    old_theta = "rotary_emb_base" if family == "gpt_neox" else "rope_theta"
    part = {"gpt_neox": {"partial_rotary_factor": 0.75}, "phi": {"partial_rotary_factor": 0.5}}.get(family, {})
    kinds = {
        "default": {"rope_type": "default"},
        "linear": {"rope_type": "linear", "factor": 3.0},
        "linear, no factor": {"rope_type": "linear"},
        "linear, null factor": {"rope_type": "linear", "factor": None},
        "llama3": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
        "llama3, no original": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
        "llama3, null original": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": None},
        "dynamic": {"rope_type": "dynamic", "factor": 2.0},
        "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        "yarn, no original": {"rope_type": "yarn", "factor": 4.0},
        "yarn, no factor": {"rope_type": "yarn", "original_max_position_embeddings": 16},
        "yarn, null factor": {"rope_type": "yarn", "factor": None, "original_max_position_embeddings": 16},
        "yarn, attention": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "attention_factor": 0.7},
        "yarn, mscale": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 0.7, "mscale_all_dim": 2.0},
        "yarn, one mscale": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 0.7},
        "yarn, betas": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": 8, "beta_slow": 2},
        "yarn, null betas": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "beta_fast": None, "beta_slow": 0},
        "yarn, not truncated": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "truncate": False},
        "yarn, null truncate": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64, "truncate": None},
        "longrope, long": {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 8, "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.0, 2.0, 3.0, 5.0]},
        "longrope, short": {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 16, "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.0, 2.0, 3.0, 5.0]},
        "longrope, no factor": {"rope_type": "longrope", "original_max_position_embeddings": 8, "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.0, 2.0, 3.0, 5.0]},
        "longrope, no original": {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.0, 2.0, 3.0, 5.0]},
        "longrope, attention": {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 8, "attention_factor": 1.3, "short_factor": [1.0, 1.1, 1.3, 1.5], "long_factor": [1.0, 2.0, 3.0, 5.0]},
        "longrope, lengths": {"rope_type": "longrope", "factor": 4.0, "original_max_position_embeddings": 8, "short_factor": [1.0, 1.1], "long_factor": [1.0, 2.0]},
        "proportional": {"rope_type": "proportional", "factor": 2.0},
        "su": {"rope_type": "su", "factor": 2.0},
        "type alone": {"type": "linear", "factor": 3.0},
        "type and rope_type": {"type": "linear", "rope_type": "dynamic", "factor": 3.0},
        "null rope_type": {"rope_type": None, "factor": 3.0},
        "another key": {"rope_type": "linear", "factor": 3.0, "alpha": 7.0},
    }
    n_pairs = {"gpt_neox": 3, "phi": 2}.get(family, 4)
    beside = {"rotary_pct": 0.75} if family == "gpt_neox" else {}
    for kind, inside in kinds.items():
        inside = {k: (v[:n_pairs] if isinstance(v, list) and kind != "longrope, lengths" else v) for k, v in inside.items()}
        yield f"new names: {kind}", {"set": {"rope_parameters": {**inside, **part, "rope_theta": 100.0}}}
        yield f"theta beside: {kind}", {"set": {"rope_parameters": inside, old_theta: 100.0, **beside}}
        yield f"old names: {kind}", {"set": {"rope_scaling": inside, old_theta: 100.0, **beside}, "remove": ["rope_parameters"]}
        yield f"both: {kind}", {"set": {"rope_scaling": inside, **beside}}
    for kind in ["dynamic", "llama3, no original", "yarn, no original"]:
        yield f"few positions: {kind}", {"set": {"rope_parameters": {**kinds[kind], **part, "rope_theta": 100.0}, "max_position_embeddings": 12}}
        yield f"original beside: {kind}", {"set": {"rope_parameters": {**kinds[kind], **part, "rope_theta": 100.0}, "original_max_position_embeddings": 24}}
    yield "theta null inside", {"set": {"rope_parameters": {"rope_type": "default", "rope_theta": None}}}
    yield "theta null beside", {"set": {"rope_theta": None, "rotary_emb_base": None}, "remove": ["rope_parameters"]}
    yield "theta null beside one inside", {"set": {"rope_theta": None}}
    yield "theta 0", {"set": {"rope_parameters": {"rope_type": "default", "rope_theta": 0.0}}}
    yield "empty", {"set": {"rope_parameters": {}}}
    yield "empty scaling", {"set": {"rope_scaling": {}}}
    yield "no object", {"set": {"rope_scaling": "linear"}}
    yield "two thetas", {"set": {"rope_theta": 300.0, "rope_parameters": {"rope_type": "default", "rope_theta": 100.0, **part}}}
    yield "by layer", {"set": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 100.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 500.0}}}}
    yield "by layer, scaled", {"set": {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 3.0, "rope_theta": 100.0}, "sliding_attention": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}}}
    yield "by layer, thetas beside", {"set": {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 3.0}, "sliding_attention": None}, "rope_theta": 100.0, "rope_local_base_freq": 500.0}}
    yield "by layer, one, and a scaling", {"set": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 100.0}}, "rope_scaling": {"rope_type": "linear", "factor": 3.0}}}
    for value in [0.25, 0.375, 0.5, 0.625, 0.9, 1.0, 1.5, 0.0, None]:
        yield f"rotary_pct {value}", {"set": {"rotary_pct": value}, "remove": ["rope_parameters"]}
        yield f"partial_rotary_factor {value}", {"set": {"partial_rotary_factor": value}, "remove": ["rope_parameters"]}
        yield f"partial_rotary_factor {value} inside", {"set": {"rope_parameters": {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": value}}}
        yield f"linear, partial_rotary_factor {value} inside", {"set": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 100.0, "partial_rotary_factor": value}}}


def cases(base, family, cls):
    """(key, how, edit) of all cases."""
    fields = {f.name: f.default for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}
    read = set(fields) | set(cls.attribute_map) | asked_for(cls)
    eps = next((name for name in ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon") if name in fields), "attention_bias")
    for key in sorted((read | set(base) | set(OUTSIDE)) - SKIP):
        yield key, "absent", {"remove": [key]}
        yield key, "null", {"set": {key: None}}
        default = getattr(cls(), cls.attribute_map.get(key, key), None) if key not in fields else fields[key]
        if default is not None and isinstance(default, (bool, int, float, str, list, dict)):
            yield key, "default", {"set": {key: default}}
        for value in [{}, {"0": {eps: 0.5}}] if key == "per_layer_config" else others(key, base.get(key, default)):
            yield key, "other", {"set": {key: value}}
    if "layer_types" in base:
        # What takes the place of layer_types where it is missing.
        for key, values in {"max_window_layers": [0, 2], "use_sliding_window": [False], "sliding_window_pattern": [2, None], "sliding_window": [None, 3]}.items():
            for value in values if key in fields or key == "sliding_window_pattern" else []:
                yield key, "other", {"set": {key: value}, "remove": ["layer_types"]}
    if "rope_parameters" in fields:
        for name, edit in rotations(base, family):
            yield "rotation", name, edit


def edited(base, edit):
    config = {k: v for k, v in copy.deepcopy(base).items() if k not in edit.get("remove", [])}
    return {**config, **copy.deepcopy(edit.get("set", {}))}


def fixture(family, out):
    cls = type(AutoConfig.for_model(family))
    torch.manual_seed(0)
    config = cls(**FAMILIES[family])
    model = AutoModelForCausalLM.from_config(config)
    seeded(model)
    ids = (torch.arange(N_TOKENS) * 7 + 3).remainder(40)[None]
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        base = json.loads(Path(folder, "config.json").read_text())
        weights = {k: v.half().contiguous() for k, v in model.state_dict().items() if not k.startswith("lm_head")}
        weights = {k: v for k, v in weights.items() if v.numel() > 1}
        save_file(weights, Path(folder, "model.safetensors"), metadata={"format": "pt"})

        def run(config):
            Path(folder, "config.json").write_text(json.dumps(config))
            return answer(folder, ids)

        plain, why = run(base)
        if plain is None:
            raise SystemExit(f"{family}: {why}")
        answers, done = {}, []
        for key, how, edit in cases(base, family, cls):
            config = edited(base, edit)
            x, why = (plain, None) if config == base else run(config)
            if x is not None and equal(x, plain):
                why = "same"
            elif x is not None:
                found = [name for name, y in answers.items() if equal(x, y)]
                why = found[0] if found else f"answer.{len(answers)}"
                answers[why] = x
            done.append({"key": key, "how": how, **edit, "expected": why})
    fields = {f.name for f in dataclasses.fields(cls)} | set(cls.attribute_map)
    about = {
        "transformers": transformers.__version__,
        "base": base,
        "ids": ids[0].tolist(),
        "fields": sorted(fields - SKIP),
        "cases": done,
    }
    save_file(weights, Path(out, f"{family}.safetensors"))
    save_file({"same": plain, **answers}, Path(out, f"{family}.expected.safetensors"))
    lines = json.dumps(about | {"cases": []})[:-2] + "\n" + ",\n".join(json.dumps(c) for c in done) + "\n]}\n"
    Path(out, f"{family}.json").write_text(lines)
    kinds = [c["expected"].split(".")[0].split(":")[0] for c in done]
    print(family, len(done), {k: kinds.count(k) for k in sorted(set(kinds))}, f"{len(answers)} answers")


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for family in sys.argv[2:] or FAMILIES:
        fixture(family, out)
