"""What transformers holds at every hookpoint when it computes tests/fixtures/models in bfloat16, beside families.py's float32.

    python3 benches/peers/in_bf16.py tests/fixtures/models

`reference_bf16.safetensors` in each folder named here: the names of `reference.safetensors`, values as bfloat16, which is what they are. transformers rounds
everything it keeps between operations, the residual stream too. Printed: how far that is off from float32, each tensor relative to its root mean
square; the largest value, and the root mean square.
"""

import sys
from pathlib import Path

import torch
from families import MODELS, reference
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma3ForConditionalGeneration

NAMES = ("llama", "gemma3_text_config", "olmo2", "starcoder2", "gptj", "falcon_new")

if __name__ == "__main__":
    for name in NAMES:
        place = Path(sys.argv[1]) / name
        family = MODELS[name][0]
        kind = Gemma3ForConditionalGeneration if family == "gemma3" else AutoModelForCausalLM
        model = kind.from_pretrained(place, dtype=torch.bfloat16, attn_implementation="eager").eval()
        exact = load_file(place / "reference.safetensors")
        found = reference(model, family, 40 - (4 if family == "gemma3" else 0))
        assert found.keys() == exact.keys()
        worst, mean = 0.0, 0.0
        for key, value in found.items():
            if key.endswith("input_ids"):
                assert torch.equal(value, exact[key]), key
                continue
            assert torch.equal(value, value.bfloat16().float()), f"{key} is not in bfloat16"
            found[key] = value.bfloat16()
            off, size = value.double() - exact[key].double(), exact[key].double().square().mean().sqrt()
            worst = max(worst, float(off.abs().max() / size))
            mean = max(mean, float(off.square().mean().sqrt() / size))
        save_file(found, place / "reference_bf16.safetensors")
        print(f"{name}: off by {worst:.1e} at most, {mean:.1e} in root mean square")
