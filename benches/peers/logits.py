"""Whether decoder rows of two of the demo's models do the same to the logits, by transformers' output heads and numpy's correlation.

    python3 benches/peers/logits.py data/demo tests/fixtures/logits.json

The effect of a row is the head times the row times the final norm's weight; the correlation is over the tokenizer's vocabulary.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

torch.set_num_threads(1)
demo = Path(sys.argv[1])
n_vocab = Tokenizer.from_file(str(demo / "models/small-a/tokenizer.json")).get_vocab_size(with_added_tokens=True)


def effects(model, sae):
    found = AutoModelForCausalLM.from_pretrained(demo / "models" / model, dtype=torch.float32)
    norm = found.gpt_neox.final_layer_norm if hasattr(found, "gpt_neox") else found.model.norm
    head = found.get_output_embeddings().weight.detach().double().numpy()[:n_vocab]
    rows = load_file(demo / "saes" / model / sae / "sae.safetensors")["W_dec"].double().numpy()
    return head @ (rows * norm.weight.detach().double().numpy()).T


a, b = effects("small-a", "layers.2"), effects("small-b", "layers.3")
rng = np.random.default_rng(2)
pairs = [[int(i), int(j), float(np.corrcoef(a[:, i], b[:, j])[0, 1])] for i, j in rng.integers(0, 1024, size=(40, 2))]
json.dump(dict(n_vocab=n_vocab, pairs=pairs), open(sys.argv[2], "w"))
