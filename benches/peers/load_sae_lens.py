"""Latents of activations by sae-lens from a SAELens folder, a list for each row, and what it says of its place: JSON.

    python3 benches/peers/load_sae_lens.py FOLDER ROWS.safetensors
"""

import json
import sys

import torch
from sae_lens import SAE
from safetensors.torch import load_file

torch.set_num_threads(1)
sae = SAE.load_from_disk(sys.argv[1], device="cpu")
with torch.no_grad():
    latents = sae.encode(load_file(sys.argv[2])["x"])
latents = latents.to_dense() if latents.is_sparse else latents
json.dump(dict(latents=latents.tolist(), hook_name=sae.cfg.metadata.hook_name, model_name=sae.cfg.metadata.model_name), sys.stdout)
