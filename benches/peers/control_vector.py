"""What a control vector of llama.cpp does to a forward, by transformers with the vector added in its loop.

    python3 benches/peers/control_vector.py tests/fixtures

llama.cpp counts the blocks of its loop from 0 and reads tensor `direction.L` (L from 1) into place L of the vectors that it adds: one to the residual
stream behind each block, after the output of its MLP is added. So `direction.L` is added to the output of block L, blocks from 0, on every position.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
fixtures = Path(sys.argv[1])
out = {}
for name, blocks in (("gpt2", lambda m: m.transformer.h), ("neox_parallel", lambda m: m.gpt_neox.layers)):
    model = AutoModelForCausalLM.from_pretrained(fixtures / "models" / name, dtype=torch.float32, attn_implementation="eager").eval()
    layers = blocks(model)
    width, n = model.config.hidden_size, len(layers)
    ids = [(7 * k + 3) % (model.config.vocab_size - 2) for k in range(9)]
    direction = (np.random.default_rng(5).normal(size=width) * 0.5).astype(np.float32)
    cases = []
    for loop_number in range(1, n):
        seen = {}

        def behind(il):
            def hook(_, __, output):
                hidden = output[0] if isinstance(output, tuple) else output
                if il == loop_number:
                    hidden = hidden + torch.tensor(direction)
                seen[il] = hidden.detach()[0]
                return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

            return hook

        handles = [layer.register_forward_hook(behind(il)) for il, layer in enumerate(layers)]
        with torch.no_grad():
            model(torch.tensor([ids]))
        [handle.remove() for handle in handles]
        cases.append(dict(direction=loop_number, last=[[float(f"{v:.8g}") for v in row] for row in seen[n - 1].tolist()]))
    out[name] = dict(ids=ids, vector=direction.tolist(), cases=cases)
json.dump(out, open(fixtures / "control_vector.json", "w"))
