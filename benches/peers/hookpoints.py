#!/usr/bin/env python3
"""What does a hookpoint's name mean to the libraries it comes from? Tiny random models of every family, read at every
place by transformers (module hooks), TransformerLens 3 (HookedTransformer, nothing folded or centred) and
TransformerLens 4 (its bridge, no compatibility mode).

    python4 hookpoints.py models WORK      transformers 5: makes the models, reads every module's input and output
    python3 hookpoints.py tl3 WORK         TransformerLens 3
    python4 hookpoints.py tl4 WORK         TransformerLens 4
    python4 hookpoints.py merge WORK OUT [MODEL…]   the fixtures of tests/hookpoints.rs

`python3` and `python4` are two environments: the two TransformerLens do not live in one. No network is used. OUT holds a
folder for each model: config.json and model.safetensors as transformers saves them, names.json (library, name, tensor)
and values.safetensors, in which names that hold the same values share a tensor: [n_tokens, width] f32, heads side by side.
"""
import json, os, pathlib, sys

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
import numpy as np
import torch
from safetensors.numpy import load_file, save_file

torch.set_num_threads(1)
torch.set_grad_enabled(False)

IDS = [3, 17, 5, 30, 11, 2, 29, 8]
VOCAB = 32
COMMON = dict(vocab_size=VOCAB, bos_token_id=0, eos_token_id=0, pad_token_id=None)
GATED = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
             max_position_embeddings=64)
# name of the folder: (model_type, keys of its configuration)
MODELS = {
    "gpt_neox": ("gpt_neox", dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                                  max_position_embeddings=64, rotary_pct=0.5)),
    "gpt_neox_sequential": ("gpt_neox", dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                                             num_attention_heads=4, max_position_embeddings=64, rotary_pct=0.5,
                                             use_parallel_residual=False)),
    "gpt2": ("gpt2", dict(n_embd=16, n_layer=2, n_head=4, n_positions=64, n_ctx=64)),
    "gpt_neo": ("gpt_neo", dict(hidden_size=16, num_layers=2, num_heads=4,
                                attention_types=[[["global", "local"], 1]], window_size=4, max_position_embeddings=64)),
    "opt": ("opt", dict(hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4,
                        max_position_embeddings=64, word_embed_proj_dim=16)),
    "opt_after": ("opt", dict(hidden_size=16, ffn_dim=24, num_hidden_layers=2, num_attention_heads=4,
                              max_position_embeddings=64, word_embed_proj_dim=8, do_layer_norm_before=False)),
    "llama": ("llama", GATED),
    "mistral": ("mistral", dict(GATED, sliding_window=4)),
    "qwen2": ("qwen2", GATED),
    "qwen3": ("qwen3", dict(GATED, head_dim=8)),
    "gemma": ("gemma", dict(GATED, head_dim=8, hidden_activation="gelu_pytorch_tanh")),
    "gemma2": ("gemma2", dict(GATED, head_dim=8, sliding_window=4, query_pre_attn_scalar=8)),
    "gemma3": ("gemma3_text", dict(GATED, head_dim=8, sliding_window=4, query_pre_attn_scalar=8)),
    "phi": ("phi", dict(hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
                        max_position_embeddings=64)),
    "phi3": ("phi3", GATED),
    "olmo2": ("olmo2", dict(GATED, num_key_value_heads=4)),
    "smollm3": ("smollm3", dict(GATED, no_rope_layers=[1, 0])),
    "starcoder2": ("starcoder2", dict(GATED, sliding_window=None)),
    "gptj": ("gptj", dict(n_embd=16, n_layer=2, n_head=4, n_positions=64, rotary_dim=2)),
    "falcon": ("falcon", dict(hidden_size=16, ffn_hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
                              max_position_embeddings=64, multi_query=True, parallel_attn=True)),
    "falcon_new": ("falcon", dict(hidden_size=16, ffn_hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
                                  num_kv_heads=2, max_position_embeddings=64, new_decoder_architecture=True)),
    "falcon_sequential": ("falcon", dict(hidden_size=16, ffn_hidden_size=24, num_hidden_layers=2,
                                         num_attention_heads=4, max_position_embeddings=64, multi_query=True,
                                         parallel_attn=False)),
}


def rows(x):
    """[1, n_tokens, ...] or [n_tokens, ...] to [n_tokens, width]; None for what is no such thing."""
    if isinstance(x, (tuple, list)):
        x = x[0] if x else None
    if not torch.is_tensor(x) or not x.is_floating_point():
        return None
    if x.dim() >= 2 and x.shape[0] == 1 and x.shape[1] == len(IDS):
        x = x[0]
    if x.shape[0] != len(IDS) or x.dim() > 3:
        return None
    return x.reshape(len(IDS), -1).float().numpy().copy()


def make(name):
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, keys = MODELS[name]
    torch.manual_seed(sum(map(ord, name)))
    config = AutoConfig.for_model(kind, **{**COMMON, **keys}, tie_word_embeddings=True)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    for p_name, p in model.named_parameters():
        # large enough that every place differs clearly from every other
        if p.dim() == 1:
            plus = 0.0 if ("norm" not in p_name and "ln_" not in p_name) or p_name.endswith("bias") or "gemma" in kind else 1.0
            p.copy_(plus + 0.3 * torch.randn_like(p))
        else:
            p.copy_(torch.randn_like(p) * (0.6 / p.shape[-1] ** 0.5 if "emb" not in p_name and "wte" not in p_name else 0.5))
    return model


def load(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def models(work):
    for name in MODELS:
        folder = work / name
        folder.mkdir(parents=True, exist_ok=True)
        make(name).save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        model, found = load(folder), {}

        def hook(path):
            def seen(_, args, kwargs, out):
                given = args[0] if args else kwargs.get("hidden_states", kwargs.get("input"))
                for what, x in (("input", rows(given)), ("output", rows(out))):
                    # a module that is called with every layer's states (rotary) means no one place
                    key = f"{path}.{what}"
                    found[key] = None if key in found or x is None else x
            return seen

        for path, module in model.named_modules():
            if path:
                module.register_forward_hook(hook(path), with_kwargs=True)
        model(torch.tensor([IDS]))
        save_file({k: v for k, v in found.items() if v is not None}, work / f"{name}.hf.safetensors")
        print(name, len(found))


def keeping(found):
    """Makes hooks of either version of TransformerLens, each of which keeps its first value under its key in `found`."""

    def hook(key):
        def seen(x, hook):
            value = rows(x)
            if value is not None:
                found.setdefault(key, value)
        return seen

    return hook


def tl4(work):
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    for name in MODELS:
        try:
            model = load(work / name)
            bridge = build_bridge_from_module(model, type(model).__name__, hf_config=model.config)
            bridge.set_use_hook_mlp_in(True)
            found, refused = {}, []

            hook = keeping(found)
            for key in bridge.hook_dict:
                try:
                    bridge.add_hook(key, hook(key))
                except ValueError:
                    refused.append(key)
            bridge(torch.tensor([IDS]), return_type=None)
            missing = [key for key in bridge.hook_dict if key not in found]
            save_file(found, work / f"{name}.tl4.safetensors")
            print(name, len(found), "fired, silent:", " ".join(k for k in missing if "blocks.1" not in k))
        except Exception as e:
            print(name, "not by TransformerLens 4:", type(e).__name__, str(e)[:300])


# models of which TransformerLens 3 knows the sizes by name only: the sizes are put in their place
NAMED = {"gemma": "google/gemma-2b", "gemma2": "google/gemma-2-2b", "gemma3": "google/gemma-3-1b-pt",
         "olmo2": "allenai/OLMo-2-0425-1B"}


def hooked(folder, name):
    """A HookedTransformer of the model in `folder`, nothing folded or centred."""
    import shutil, tempfile, unittest.mock
    import transformer_lens.loading_from_pretrained as loading
    from transformer_lens import HookedTransformer

    model = load(folder)
    c = model.config
    with tempfile.TemporaryDirectory() as nameless:
        # a path that holds the word "llama" or "gemma" is taken for one of the released models
        shutil.copytree(folder, nameless, dirs_exist_ok=True)
        config = loading.AutoConfig.from_pretrained(nameless)
        share = (getattr(config, "rope_parameters", None) or {}).get("partial_rotary_factor")
        if share and not hasattr(config, "partial_rotary_factor"):
            config.partial_rotary_factor = share  # where TransformerLens 3 looks for it
        with unittest.mock.patch.object(loading.AutoConfig, "from_pretrained", lambda *_, **__: config):
            keys = loading.convert_hf_model_config(NAMED.get(name, nameless))
    if name in NAMED:
        keys.update(d_model=c.hidden_size, d_head=getattr(c, "head_dim", None) or c.hidden_size // c.num_attention_heads,
                    n_heads=c.num_attention_heads, d_mlp=c.intermediate_size, n_layers=c.num_hidden_layers,
                    n_ctx=c.max_position_embeddings, eps=c.rms_norm_eps, d_vocab=c.vocab_size)
        if c.num_key_value_heads != c.num_attention_heads:
            keys["n_key_value_heads"] = c.num_key_value_heads
        keys["rotary_dim"] = keys["d_head"]
        rope = c.rope_parameters
        keys["rotary_base"] = (rope.get("full_attention") or rope)["rope_theta"]
        if "act_fn" in keys and getattr(c, "hidden_activation", None):
            keys["act_fn"] = c.hidden_activation
        if "window_size" in keys:
            keys["window_size"] = c.sliding_window
            keys["attn_types"] = ["local" if t == "sliding_attention" else "global" for t in c.layer_types]
            keys["attn_scale"] = c.query_pre_attn_scalar ** 0.5
        elif "attn_types" in keys:
            keys["attn_types"] = ["global"] * c.num_hidden_layers
    keys.update(init_weights=False, dtype=torch.float32, device="cpu", model_name=name, tokenizer_name=None,
                default_prepend_bos=False)
    lens = HookedTransformer(loading.HookedTransformerConfig.from_dict(keys), move_to_device=False)
    weights = loading.get_pretrained_state_dict("gpt2", lens.cfg, model)
    lens.load_and_process_state_dict(weights, fold_ln=False, center_writing_weights=False, center_unembed=False,
                                     fold_value_biases=False)
    return lens.eval()


def tl3(work):
    for name in MODELS:
        try:
            lens, found = hooked(work / name, name), {}
            lens.set_use_hook_mlp_in(True)

            hook = keeping(found)
            for key in lens.hook_dict:
                try:
                    lens.add_hook(key, hook(key))
                except (ValueError, AssertionError):
                    pass
            lens(torch.tensor([IDS]), return_type=None)
            save_file(found, work / f"{name}.tl3.safetensors")
            print(name, len(found), "fired, silent:", " ".join(k for k in lens.hook_dict if k not in found and "blocks.1" not in k))
        except Exception as e:
            print(name, "not by TransformerLens 3:", type(e).__name__, str(e)[:300])


def merge(work, out):
    """Fixtures of every model that `names` of the command line lists, or of all."""
    only = sys.argv[4:] or list(MODELS)
    for name in only:
        tensors, names = [], {}
        for library in ("hf", "tl3", "tl4"):
            path = work / f"{name}.{library}.safetensors"
            if not path.is_file():
                continue
            found = names[library] = {}
            for key, value in sorted(load_file(path).items()):
                # within 2e-5 of the root mean square two places are one: a fifth of what the test allows
                for k, other in enumerate(tensors):
                    if other.shape == value.shape and np.abs(other - value).max() <= 2e-5 * np.sqrt((other**2).mean()):
                        found[key] = f"t{k}"
                        break
                else:
                    found[key] = f"t{len(tensors)}"
                    tensors.append(value)
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        for file in ("config.json", "model.safetensors"):
            (folder / file).write_bytes((work / name / file).read_bytes())
        save_file({f"t{k}": np.ascontiguousarray(v) for k, v in enumerate(tensors)}, folder / "values.safetensors")
        (folder / "names.json").write_text(json.dumps({"ids": IDS, **names}, separators=(",", ":"), sort_keys=True) + "\n")
        print(name, {k: len(v) for k, v in names.items()}, len(tensors), "tensors")


if __name__ == "__main__":
    work = pathlib.Path(sys.argv[2])
    if sys.argv[1] == "merge":
        merge(work, pathlib.Path(sys.argv[3]))
    else:
        {"models": models, "tl3": tl3, "tl4": tl4}[sys.argv[1]](work)
