"""SAEs with a scale that lies outside their files, and what centring weights does to activations: by SAELens and TransformerLens.

Writes tests/fixtures/sae_lens. For each architecture a small random SAE is saved by SAELens with
`normalize_activations = "expected_average_only_in"`, then the factor is folded in as `SAE.from_pretrained` does it
(`fold_activation_norm_scaling_factor`), and its latents and outputs are those of the fixture: `x`, `features`, `forward`; with
`centered.features`, `centered.forward` for the rows of `x` less their means. `centering.safetensors` holds the activations of a
two-block model with LayerNorm and one with RMSNorm, as they are and after TransformerLens' `center_writing_weights`. Run it with a
Python that has sae-lens 6.54.12 and transformer-lens 3.9:

    python benches/peers/scaled_saes.py
"""

import json
import os
import shutil

import torch
from safetensors.torch import save_file
from sae_lens.saes.sae import SAE
from transformer_lens import HookedTransformer, HookedTransformerConfig

HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
PLACE = os.path.join(HOME, "tests/fixtures/sae_lens")
D, M, ROWS, FACTOR = 24, 64, 24, 2.37

torch.set_num_threads(1)
torch.manual_seed(15)


def config(architecture, **more):
    metadata = {"model_name": "gpt2", "hook_name": "blocks.1.hook_resid_post", "context_size": 48, "prepend_bos": True}
    return {
        "architecture": architecture,
        "d_in": D,
        "d_sae": M,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "expected_average_only_in",
        "metadata": metadata,
        **more,
    }


def randomise(sae):
    for name, parameter in sae.named_parameters():
        if name in ("W_enc", "W_dec"):
            parameter.data = torch.randn_like(parameter) / D**0.5 * (1 + torch.rand(parameter.shape[0], 1))
        elif name == "threshold":
            parameter.data = torch.rand_like(parameter)
        else:
            parameter.data = torch.randn_like(parameter) * 0.3


def write(name, cfg):
    folder = os.path.join(PLACE, name)
    os.makedirs(folder)
    sae = SAE.from_dict(cfg)
    randomise(sae)
    sae.save_model(folder)
    # rows whose mean is not near 0
    x = torch.randn(ROWS, D) * 0.8 + torch.randn(ROWS, 1) + 0.5
    out = {"x": x}
    with torch.no_grad():
        sae.fold_activation_norm_scaling_factor(FACTOR)
        for key, rows in [("", x), ("centered.", x - x.mean(-1, keepdim=True))]:
            features = sae.encode(rows)
            out[key + "features"] = features.contiguous()
            out[key + "forward"] = sae(rows).contiguous()
            print(f"{name:<28} {key or 'x':<10} {float((features != 0).float().mean()):.2f} active")
    save_file(out, os.path.join(folder, "reference.safetensors"))
    with open(os.path.join(folder, "cfg.json")) as file:
        saved = json.load(file)
    assert saved["normalize_activations"] == "expected_average_only_in", saved


def centering(kind):
    cfg = HookedTransformerConfig(
        n_layers=2, d_model=D, n_ctx=16, d_head=8, n_heads=3, d_mlp=40, d_vocab=50, act_fn="gelu", normalization_type=kind, seed=3,
        device="cpu", default_prepend_bos=False, gated_mlp=kind == "RMS",
        positional_embedding_type="standard" if kind == "LN" else "rotary", rotary_dim=8 if kind == "RMS" else None,
    )
    model = HookedTransformer(cfg)
    generator = torch.Generator().manual_seed(4)
    state = {k: torch.randn(v.shape, generator=generator) * 0.3 if v.is_floating_point() and "mask" not in k and "IGNORE" not in k and "rotary" not in k else v for k, v in model.state_dict().items()}
    places = {"embed": "blocks.0.hook_resid_pre"}
    for l in range(2):
        places |= {
            f"resid_post.{l}": f"blocks.{l}.hook_resid_post",
            f"attn_out.{l}": f"blocks.{l}.hook_attn_out",
            f"mlp_out.{l}": f"blocks.{l}.hook_mlp_out",
            f"attn_z.{l}": f"blocks.{l}.attn.hook_z",
        }
    out = {}
    ids = torch.arange(12)[None] * 3 % 50
    for word, center in [("raw", False), ("centered", True)]:
        model = HookedTransformer(cfg)
        model.load_and_process_state_dict(
            {k: v.clone() for k, v in state.items()}, fold_ln=False, center_writing_weights=center, center_unembed=False, fold_value_biases=False
        )
        with torch.no_grad():
            _, cache = model.run_with_cache(ids)
        for plain, name in places.items():
            out[f"{kind}.{word}.{plain}"] = cache[name][0].reshape(ids.shape[1], -1).contiguous()
    return out


shutil.rmtree(PLACE, ignore_errors=True)
write("standard", config("standard"))
write("gated", config("gated"))
write("jumprelu", config("jumprelu", apply_b_dec_to_input=False))
write("topk", config("topk", k=6))
write("topk_by_decoder_norm", config("topk", k=6, rescale_acts_by_decoder_norm=True))
write("skip_transcoder", config("skip_transcoder", apply_b_dec_to_input=False, d_out=D))
save_file(centering("LN") | centering("RMS"), os.path.join(PLACE, "centering.safetensors"))
