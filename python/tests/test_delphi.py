"""Does delphi's own loader read what `cognate export --delphi` writes, and find in it what the run counted?"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import cognate

loader = pytest.importorskip("delphi.latents.loader", reason="eai-delphi is not installed", exc_type=ImportError)
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

PLACES = {"small-a": "resid_post.2", "small-b": "resid_post.3"}


def test_delphi_reads_every_firing_that_the_run_counted(flow: dict[str, Any], tmp_path: Path) -> None:
    from delphi.config import ConstructorConfig, SamplerConfig

    del flow["saes"]["small-a/resid_post.1"]
    # with full contexts alone, all of them in the cache, its firings are those of the run
    flow["corpus"]["remainder"] = "drop"
    run = cognate.run(flow, out=tmp_path / "run", progress=False)
    command = [cognate.program(), "export", run.path, "--delphi", tmp_path / "cache", "--contexts", "100000"]
    subprocess.run(command, check=True)
    kept = run.matches(kept_only=True).to_pylist()
    for model, hookpoint in PLACES.items():
        end = "source" if model == "small-a" else "target"
        wanted = sorted({row[f"{end}_latent"] for row in kept})
        raw = tmp_path / "cache" / model / "latents"
        about = json.loads((raw / hookpoint / "config.json").read_text())
        dataset = loader.LatentDataset(
            raw,
            SamplerConfig(n_examples_train=4, n_examples_test=4),
            ConstructorConfig(example_ctx_len=32, min_examples=20, n_non_activating=5),
            tokenizer=transformers.PreTrainedTokenizerFast(tokenizer_file=f"{about['model_name']}/tokenizer.json"),
            latents={hookpoint: torch.tensor(wanted)},
        )
        assert dataset.tokens.shape[0] * 64 == about["n_tokens"] and dataset.tokens.shape[1] == 64

        found = {}
        for buffer in dataset.buffers:
            latents, locations, activations = buffer.load_data_per_latent()
            for latent, place, values in zip(latents.tolist(), locations, activations):
                found[latent] = (len(place), values.double())
        rows = dataset.tokens.shape[0] * 63  # BOS is not counted
        counted = {row["latent"]: row for row in run.latents(f"{model}/{hookpoint}").to_pylist()}
        assert sorted(found) == [latent for latent in wanted if counted[latent]["n_active"] > 0]
        for latent, (n, values) in found.items():
            row = counted[latent]
            assert n == row["n_active"], latent
            # F16 has 11 digits
            assert float(values.sum()) == pytest.approx(row["mean"] * rows, rel=2**-11), latent
            assert float(values.max()) == pytest.approx(row["max"], rel=2**-11), latent

        records = list(dataset)
        assert len(records) > 50, len(records)
        for record in records[:50]:
            latent = record.latent.latent_index
            best = max(float(example.max_activation) for example in record.examples)
            assert best == pytest.approx(counted[latent]["max"], rel=2**-11), latent
            assert all(len(example.tokens) == 32 for example in record.examples)
