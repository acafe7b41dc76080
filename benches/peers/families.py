"""Tiny random models of the families that tests/models.rs holds against transformers, with the values at every hookpoint.

    python3 benches/peers/families.py tests/fixtures/models [NAME …]

A folder for each: `config.json` as transformers 5 writes it, `config.legacy.json` with the keys of transformers 4 (loaded too, and equal), `model.safetensors`,
and `reference.safetensors`: for each sequence j `seqJ.input_ids`, `seqJ.embed` (what enters block 0), `seqJ.final_norm`, and `seqJ.layerL.NAME` for the
hookpoints that the family has, read by hooks on transformers' own modules (attention "eager", float32). `torch_files` holds one of the models as torch
saves it: zip and the container from before 1.6, one file and shards, with transposed weights. Weights are random, scaled so that every option matters.
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, Gemma3ForConditionalGeneration

torch.set_num_threads(1)
LENGTHS = (24, 11, 3)
SMALL = dict(vocab_size=40, bos_token_id=1, eos_token_id=2, pad_token_id=0)
LLAMA = dict(SMALL, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64)
FALCON = dict(SMALL, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64)
ROPE = dict(rope_type="default", rope_theta=500.0)

# name: (model_type, configuration, stored as)
MODELS = {
    "llama": ("llama", dict(LLAMA, rope_parameters=dict(ROPE)), torch.float32),
    "phi3": ("phi3", dict(LLAMA, rope_parameters=dict(ROPE), sliding_window=7), torch.float32),
    "phi3_partial": ("phi3", dict(LLAMA, rope_parameters=dict(ROPE, partial_rotary_factor=0.67), sliding_window=None), torch.bfloat16),
    "phi3_longrope": ("phi3", dict(LLAMA, original_max_position_embeddings=16, rope_parameters=dict(ROPE, rope_type="longrope", short_factor=[1.0, 1.3, 2.0], long_factor=[1.5, 4.0, 9.0])), torch.float16),
    "olmo2": ("olmo2", dict(LLAMA, rope_parameters=dict(ROPE)), torch.float32),
    "olmo2_bias": ("olmo2", dict(LLAMA, rope_parameters=dict(ROPE), attention_bias=True, num_key_value_heads=4), torch.float16),
    "smollm3": ("smollm3", dict(LLAMA, rope_parameters=dict(ROPE), num_hidden_layers=4, no_rope_layer_interval=2), torch.bfloat16),
    "smollm3_window": ("smollm3", dict(LLAMA, rope_parameters=dict(ROPE), no_rope_layers=[0, 1], use_sliding_window=True, sliding_window=5, attention_bias=True, mlp_bias=True), torch.float16),
    "starcoder2": ("starcoder2", dict(LLAMA, rope_parameters=dict(ROPE), sliding_window=6), torch.float32),
    "starcoder2_nobias": ("starcoder2", dict(LLAMA, rope_parameters=dict(ROPE), use_bias=False), torch.float16),
    "gptj": ("gptj", dict(SMALL, n_embd=32, n_layer=2, n_head=4, n_positions=64, rotary_dim=4), torch.float32),
    "gptj_inner": ("gptj", dict(SMALL, n_embd=24, n_layer=2, n_head=3, n_positions=64, rotary_dim=8, n_inner=40), torch.float16),
    "falcon_multi_query": ("falcon", dict(FALCON, rope_parameters=dict(ROPE)), torch.float32),
    "falcon_new": ("falcon", dict(FALCON, rope_parameters=dict(ROPE), new_decoder_architecture=True, num_kv_heads=2, bias=True), torch.float16),
    "falcon_one_norm": ("falcon", dict(FALCON, rope_parameters=dict(ROPE), new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1, ffn_hidden_size=40), torch.bfloat16),
    "falcon_sequential": ("falcon", dict(FALCON, rope_parameters=dict(ROPE), multi_query=False, parallel_attn=False, bias=True, activation="gelu_pytorch_tanh"), torch.bfloat16),
    "gemma3_text_config": ("gemma3", None, torch.bfloat16),
}
GEMMA3_TEXT = dict(SMALL, hidden_size=24, intermediate_size=40, num_hidden_layers=3, max_position_embeddings=64, sliding_window=6, sliding_window_pattern=3, query_pre_attn_scalar=12)
VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)


def layout(family):
    """Where the modules stand: decoder, blocks, attention's output layer, MLP, final norm, hookpoints that norms give."""
    llama = ("model", "layers", "self_attn.o_proj", "mlp", "norm", {})
    post = {"attn_out_normed": "post_attention_layernorm", "mlp_out_normed": "post_feedforward_layernorm"}
    return {
        "olmo2": llama[:5] + (post,),
        "gemma3": ("model.language_model",) + llama[1:5] + (post,),
        "gptj": ("transformer", "h", "attn.out_proj", "mlp", "ln_f", {}),
        "falcon": ("transformer", "h", "self_attention.dense", "mlp", "ln_f", {}),
    }.get(family, llama)


def module(root, path):
    for part in path.split("."):
        root = getattr(root, part)
    return root


def first(value):
    return value[0] if isinstance(value, tuple) else value


def reference(model, family, vocab):
    decoder, blocks, out_proj, mlp, norm, norms = layout(family)
    decoder = module(model, decoder)
    out, seen = {}, {}

    def put(name, value):
        # a copy: falcon adds to the MLP's output in place
        seen[name] = value.detach().float()[0].clone().contiguous()

    def read(at, before, after, entered, left):
        put(at(before), entered)
        put(at(after), left)

    hooks = [module(decoder, norm).register_forward_hook(lambda m, i, o: put("final_norm", o))]
    for l, block in enumerate(getattr(decoder, blocks)):
        at = lambda name, l=l: f"layer{l}.{name}"
        if l == 0:
            hooks.append(block.register_forward_pre_hook(lambda m, a, k: put("embed", a[0] if a else k["hidden_states"]), with_kwargs=True))
        hooks.append(block.register_forward_hook(lambda m, i, o, at=at: put(at("resid_post"), first(o))))
        hooks.append(module(block, out_proj).register_forward_hook(lambda m, i, o, at=at: read(at, "attn_z", "attn_out", i[0], o)))
        hooks.append(module(block, mlp).register_forward_hook(lambda m, i, o, at=at: read(at, "mlp_in", "mlp_out", i[0], o)))
        for name, path in norms.items():
            hooks.append(module(block, path).register_forward_hook(lambda m, i, o, at=at, name=name: put(at(name), o)))
    generator = torch.Generator().manual_seed(7)
    for j, n in enumerate(LENGTHS):
        ids = torch.randint(3, vocab, (1, n), generator=generator)
        with torch.no_grad():
            model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
        out[f"seq{j}.input_ids"] = ids[0]
        out |= {f"seq{j}.{name}": value for name, value in seen.items()}
    for hook in hooks:
        hook.remove()
    return out


def legacy(config):
    """The same in the keys of transformers 4."""
    config = {**config}
    rope = config.pop("rope_parameters", None) or {}
    if "sliding_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    rope = {**rope}
    if "rope_theta" in rope:
        config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    if rope.get("rope_type", "default") != "default":
        config["rope_scaling"] = rope
    config["torch_dtype"] = config.pop("dtype", "float32")
    if config.get("model_type") in ("gemma3_text",):
        config.pop("layer_types", None)
        config["sliding_window_pattern"] = config.pop("_sliding_window_pattern", 6)
        # released files leave to the class what is as in the class
        for key in ("num_attention_heads", "num_key_value_heads", "rms_norm_eps", "hidden_activation", "attention_bias"):
            config.pop(key)
    if "text_config" in config:
        config["text_config"] = legacy(config["text_config"])
    return config


def make(folder, name):
    family, values, dtype = MODELS[name]
    if family == "gemma3":
        # heads, their width and more are left to the class, as the released files do
        config = CONFIG_MAPPING[family](text_config=GEMMA3_TEXT, vision_config=VISION, mm_tokens_per_image=4, boi_token_index=37, eoi_token_index=38, image_token_index=39)
        config.text_config.head_dim = 8
        config.text_config.rope_parameters = {"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 900.0}, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}
    else:
        config = CONFIG_MAPPING[family](**values)
    config._attn_implementation = "eager"
    torch.manual_seed(sum(name.encode()))
    model = Gemma3ForConditionalGeneration(config) if family == "gemma3" else AutoModelForCausalLM.from_config(config)
    model = model.eval().float()
    with torch.no_grad():
        for parameter_name, p in model.named_parameters():
            width = p.shape[-1] if p.dim() > 1 else 1
            if p.dim() > 1:
                p.normal_(0, 1.0 if "embed" in parameter_name or "wte" in parameter_name else 1.6 / width**0.5)
            elif parameter_name.endswith("bias"):
                p.normal_(0, 0.2)
            else:
                p.normal_(0.0 if family == "gemma3" else 1.0, 0.2)
        for p in model.parameters():
            p.copy_(p.to(dtype).float())
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    model.to(dtype).save_pretrained(place)
    (place / "generation_config.json").unlink(missing_ok=True)
    written = json.loads((place / "config.json").read_text())
    (place / "config.legacy.json").write_text(json.dumps(legacy(written), indent=2) + "\n")
    vocab = written.get("text_config", written)["vocab_size"] - (4 if family == "gemma3" else 0)
    model = type(model).from_pretrained(place, dtype=torch.float32, attn_implementation="eager").eval()
    values = reference(model, family, vocab)
    save_file(values, place / "reference.safetensors")
    with_legacy(place, values, family, vocab, type(model))
    return model


def with_legacy(place, values, family, vocab, kind):
    """transformers gives the same with the other generation's keys."""
    with tempfile.TemporaryDirectory() as other:
        shutil.copy(place / "config.legacy.json", Path(other) / "config.json")
        shutil.copy(place / "model.safetensors", other)
        model = kind.from_pretrained(other, dtype=torch.float32, attn_implementation="eager").eval()
        for name, value in reference(model, family, vocab).items():
            assert torch.equal(value, values[name]), f"{place.name} {name}: the configurations differ"


def torch_files(folder, model):
    """The llama model as torch saves it, and its reference."""
    place = folder / "torch_files"
    shutil.rmtree(place, ignore_errors=True)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    # a transposed view keeps its strides
    turned = "model.layers.1.self_attn.o_proj.weight"
    state[turned] = state[turned].t().contiguous().t()
    names = sorted(state)
    for kind in ("zip", "legacy", "sharded"):
        (place / kind).mkdir(parents=True)
        shutil.copy(folder / "llama" / "config.json", place / kind)
    torch.save(state, place / "zip/pytorch_model.bin")
    torch.save(state, place / "legacy/pytorch_model.bin", _use_new_zipfile_serialization=False)
    half = len(names) // 2
    shards = {"pytorch_model-00001-of-00002.bin": names[:half], "pytorch_model-00002-of-00002.bin": names[half:]}
    for file, held in shards.items():
        torch.save({name: state[name] for name in held}, place / "sharded" / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in shards.items() for name in held}}
    (place / "sharded/pytorch_model.bin.index.json").write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    for name in sys.argv[2:] or MODELS:
        model = make(folder, name)
        if name == "llama":
            torch_files(folder, model)
        print(name, sum(f.stat().st_size for f in (folder / name).iterdir()) // 1024, "KiB")
