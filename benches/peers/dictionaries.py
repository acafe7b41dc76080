"""A TopK dictionary as dictionary_learning saved them in 2024, and what its class gives.

    pip install --no-deps dictionary-learning && pip install einops
    python3 benches/peers/dictionaries.py tests/fixtures/saes/dictionary_learning/topk_2024

Files of that time hold neither `k` nor `threshold`; k stands in `config.json`. Beside `ae.pt` lie `with_k.pt` (as later versions save it) and `wrapped.pt` (under the
names that torch.compile and DistributedDataParallel give). `reference.safetensors`: x, features, decoded, by the library's own AutoEncoderTopK.
"""

import json
import sys
from pathlib import Path
from unittest.mock import MagicMock

# only what gathers activations asks for it
sys.modules.setdefault("nnsight", MagicMock())

import torch
from dictionary_learning.trainers.top_k import AutoEncoderTopK
from safetensors.torch import save_file

D_IN, D_SAE, K = 6, 20, 3
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
torch.manual_seed(5)
sae = AutoEncoderTopK(D_IN, D_SAE, K)
with torch.no_grad():
    sae.encoder.bias.normal_(0, 0.3)
    sae.b_dec.normal_(0, 0.5)
later = sae.state_dict()
then = {name: value for name, value in later.items() if name not in ("k", "threshold")}
torch.save(then, folder / "ae.pt")
torch.save(later, folder / "with_k.pt")
torch.save({f"module._orig_mod.{name}": value for name, value in then.items()}, folder / "wrapped.pt")
trainer = dict(trainer_class="TrainerTopK", dict_class="AutoEncoderTopK", activation_dim=D_IN, dict_size=D_SAE, k=K, layer=3, submodule_name="resid_post_layer_3")
(folder / "config.json").write_text(json.dumps({"trainer": trainer, "buffer": {"d_submodule": D_IN, "io": "out", "ctx_len": 128}}, indent=1) + "\n")
with torch.no_grad():
    x = torch.cat([torch.randn(12, D_IN), torch.zeros(1, D_IN), sae.b_dec[None]])
    features = sae.encode(x)
    save_file(dict(x=x, features=features, decoded=sae.decode(features)), folder / "reference.safetensors")
