"""Random weights of true shapes, and the dataflow files over them: Pythia-70m and 160m with an SAE of 32 768 latents behind
every block (6 x 12 pairs). The weights are those of shapes.py.

    benches/peers/.venv/bin/python benches/peers/wide.py FOLDER [--latents 32768] [--tokens 20000]
    cognate run FOLDER/sketch.toml --out FOLDER/run
"""
import argparse
from pathlib import Path

from shapes import SHAPES, write_model, write_sae

HERE = Path(__file__).resolve().parents[2]
MODELS = ["pythia-70m", "pythia-160m"]


def flow(folder, name, compare, tokens, sites, every):
    text = f"""format = 1
name = "{name}"
[corpus]
files = ["{HERE}/data/demo/corpus.jsonl"]
context_length = 256
batch_contexts = 8
max_tokens = {tokens}
"""
    for name in MODELS:
        text += f'[models.{name}]\npath = "{folder / name}"\n'
    for name, layer in sites:
        text += f'[saes."{name}/resid_post.{layer}"]\npath = "{folder}/saes/{name}/layers.{layer}"\n'
    text += f"""[compare]
pairs = "all"
{compare}
[estimate]
snapshot_every = {every}
best = 1
top_tokens = 3
filters = {{ min_active = 10, min_correlation = 0.1 }}
[checkpoint]
every = {tokens}
"""
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--latents", type=int, default=32768)
    parser.add_argument("--tokens", type=int, default=20000)
    options = parser.parse_args()
    folder = options.folder.resolve()
    sites = []
    for name in MODELS:
        if not (folder / name / "config.json").exists():
            write_model(folder / name, name)
        for layer in range(SHAPES[name]["layers"]):
            sites.append((name, layer))
            place = folder / "saes" / name / f"layers.{layer}"
            if not (place / "cfg.json").exists():
                write_sae(place, name, layer, options.latents, 32)
    sketch = 'cross = "sketch"\nwidth = 512\ncandidates = 5'
    half = max(options.tokens // 2, 1)
    (folder / "sketch.toml").write_text(flow(folder, "sketch", sketch, options.tokens, sites, half))
    (folder / "auto.toml").write_text(flow(folder, "auto", sketch.replace('"sketch"', '"auto"'), options.tokens, sites, half))
    (folder / "exact.toml").write_text(flow(folder, "exact", 'cross = "exact"', options.tokens, sites, half))
    two = [s for s in sites if s in (("pythia-70m", 3), ("pythia-160m", 6))]
    (folder / "pair.toml").write_text(flow(folder, "pair", 'cross = "exact"', options.tokens, two, half))


if __name__ == "__main__":
    main()
