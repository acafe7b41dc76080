"""The published path in plain NumPy beside Cognate under `rules = "as_published"`, for every layer pair of the demo.

What the authors' code computes (arXiv 2410.06981; dense activations before the top-k, every position, correlation with a
division by T of columns standardised by T - 1 and 1e-8, each target picks, the junk list, a shared string among the five
strongest tokens, the lowest target of each source, r > 0.1, SVCCA by the rule that keeps one component, RSA of row-centred
cosines by Spearman), written out in f64. Documents are cut to 128 tokens, as they cut theirs; shorter ones are left out.

Hidden states come from `cognate activations`, everything behind them from here. Needs numpy, scipy, safetensors, tokenizers,
pyarrow (requirements.txt). Exit code 1 when a number differs by more than 1e-4 or a set of pairs by a pair.

    benches/peers/.venv/bin/python benches/peers/published.py --cognate target/release/cognate --documents 120
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow.parquet as parquet
from safetensors.numpy import load_file, save_file
from scipy.stats import spearmanr
from tokenizers import Tokenizer

LENGTH = 128
ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
DATA = os.path.join(ROOT, "data/demo")
LAYERS = {"small-a": [1, 2, 3], "small-b": [1, 3, 5]}
JUNK = {".", "\\n", "\n", "", " ", "-", "<bos>", ",", "!", "?", "<|endoftext|>", "|bos|"}
LIMIT = 1e-4


def documents(n):
    """Token ids of the first `n` documents that are long enough, [n, LENGTH]."""
    tokenizer = Tokenizer.from_file(os.path.join(DATA, "models/small-a/tokenizer.json"))
    rows = []
    for line in open(os.path.join(DATA, "corpus.jsonl"), encoding="utf-8"):
        ids = tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids
        if len(ids) >= LENGTH:
            rows.append(ids[:LENGTH])
        if len(rows) == n:
            break
    return tokenizer, np.array(rows)


def dense(cognate, folder, model, ids):
    """ReLU(W (x - b_dec) + b) of every SAE of a model, with its decoder: {layer: (X [T, F], W_dec [F, d])}."""
    tokens, out = os.path.join(folder, "ids.safetensors"), os.path.join(folder, f"{model}.safetensors")
    save_file({"input_ids": ids.astype(np.int64)}, tokens)
    hooks = ",".join(f"resid_post.{layer}" for layer in LAYERS[model])
    path = os.path.join(DATA, "models", model)
    command = [cognate, "activations", "--model", path, "--tokens", tokens, "--hookpoints", hooks, "--out", out]
    subprocess.run(command, check=True, cwd=ROOT)
    hidden = load_file(out)
    found = {}
    for layer in LAYERS[model]:
        name = next(k for k in hidden if k.endswith(f"resid_post.{layer}"))
        x = hidden[name].reshape(ids.size, -1).astype(np.float64)
        sae = load_file(os.path.join(DATA, f"saes/{model}/layers.{layer}/sae.safetensors"))
        sae = {k: v.astype(np.float64) for k, v in sae.items()}
        pre = (x - sae["b_dec"]) @ sae["encoder.weight"].T + sae["encoder.bias"]
        found[layer] = (np.maximum(pre, 0.0), sae["W_dec"])
    return found


def standardised(x):
    z = (x - x.mean(0)) / (x.std(0, ddof=1) + 1e-8)
    z[:, (x == x[0]).all(0)] = 0.0
    return z


def labels(x, ids, tokenizer):
    """The strings of the five strongest positions of each latent; positions without a firing are none."""
    flat, out, texts = ids.ravel(), [], {}
    for j in range(x.shape[1]):
        top = np.argsort(-x[:, j], kind="stable")[:5]
        tokens = [int(flat[t]) for t in top if x[t, j] > 0]
        out.append({texts.setdefault(t, tokenizer.decode([t], skip_special_tokens=False)) for t in tokens})
    return out


def svcca(p, q):
    def scores(m):
        centred = m - m.mean(0)
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        share, total = np.cumsum(s**2) / np.sum(s**2), np.sum(s**2)
        k = int(np.argmax(share >= 0.99 * total)) + 1  # argmax of nothing true is 0
        return u[:, :k] * s[:k], k

    (a, ka), (b, kb) = scores(p), scores(q)
    n = len(p) - 1
    xx, yy, xy = a.T @ a / n, b.T @ b / n, a.T @ b / n
    mx, my = np.abs(xx).max(), np.abs(yy).max()
    xx, yy, xy = xx / mx, yy / my, xy / np.sqrt(mx * my)
    xx, yy = xx + 1e-10 * np.eye(ka), yy + 1e-10 * np.eye(kb)

    def root(m):
        values, vectors = np.linalg.eigh(np.linalg.pinv(m))
        return vectors @ np.diag(np.sqrt(np.maximum(values, 0))) @ vectors.T

    return float(np.mean(np.linalg.svd(root(xx) @ xy @ root(yy), compute_uv=False)))


def rsa(p, q):
    def upper(m):
        m = m - m.mean(1, keepdims=True)
        m = m / np.linalg.norm(m, axis=1, keepdims=True)
        return (m @ m.T)[np.triu_indices(len(m), 1)]

    return float(spearmanr(upper(p), upper(q)).statistic)


def published(a, b, labels_a, labels_b):
    """Best source and correlation of each target, pairs after each filter, scores."""
    (x, w_a), (y, w_b) = a, b
    c = standardised(x).T @ standardised(y) / len(x)
    best, r = c.argmax(0), c.max(0)
    concept = [
        t
        for t, s in enumerate(best)
        if not (labels_a[s] | labels_b[t]) & JUNK and labels_a[s] & labels_b[t]
    ]
    seen, first = set(), []
    for t in concept:
        if best[t] not in seen:
            seen.add(best[t])
            first.append(t)
    kept = [t for t in first if r[t] > 0.1]
    pairs = [(int(best[t]), t) for t in kept]
    p, q = w_a[[s for s, _ in pairs]], w_b[[t for _, t in pairs]]
    return {
        "best": best,
        "r": r,
        "n_concept": len(concept),
        "n_one_to_one": len(first),
        "pairs": pairs,
        "svcca": svcca(p, q),
        "rsa": rsa(p, q),
    }


def cognate_run(cognate, folder, ids):
    """The same through Cognate: tables `matches` and `similarities`."""
    ids.astype("<u2").tofile(os.path.join(folder, "ids.bin"))
    lines = ["format = 1", 'name = "published"', "[corpus]", f'files = ["{folder}/ids.bin"]', f"context_length = {LENGTH}"]
    lines += ['bos = "none"', "count_special = true", "batch_contexts = 8"]
    for model, layers in LAYERS.items():
        lines += [f"[models.{model}]", f'path = "{DATA}/models/{model}"']
        for layer in layers:
            lines += [f'[saes."{model}/resid_post.{layer}"]', f'path = "{DATA}/saes/{model}/layers.{layer}"', 'encode = "dense"']
    lines += ["[compare]", 'pairs = "all"', "[estimate]", "snapshot_every = 1_000_000", 'rules = "as_published"']
    lines += ["null = { permutations = 20, documents = false }"]
    flow, out = os.path.join(folder, "flow.toml"), os.path.join(folder, "run")
    open(flow, "w", encoding="utf-8").write("\n".join(lines) + "\n")
    subprocess.run([cognate, "run", flow, "--out", out, "--quiet"], check=True, cwd=ROOT)
    table = lambda name: parquet.read_table(os.path.join(out, "tables", f"{name}.parquet")).to_pylist()  # noqa: E731
    return table("matches"), table("similarities")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cognate", default=os.path.join(ROOT, "target/release/cognate"))
    parser.add_argument("--documents", type=int, default=120)
    args = parser.parse_args()
    worst, off = {"r": 0.0, "svcca": 0.0, "rsa": 0.0}, 0
    with tempfile.TemporaryDirectory() as folder:
        tokenizer, ids = documents(args.documents)
        cognate = os.path.abspath(args.cognate)
        matches, similarities = cognate_run(cognate, folder, ids)
        sides = {model: dense(cognate, folder, model, ids) for model in LAYERS}
    names = {(m, layer): labels(x, ids, tokenizer) for m, found in sides.items() for layer, (x, _) in found.items()}
    print(f"{len(ids)} documents of {LENGTH} tokens, T = {ids.size}")
    print("| pair | mean r, all | largest difference of r | other best | kept | one-to-one | kept by both | svcca | rsa |")
    print("|---|---|---|---|---|---|---|---|---|")
    for a in LAYERS["small-a"]:
        for b in LAYERS["small-b"]:
            mine = published(sides["small-a"][a], sides["small-b"][b], names["small-a", a], names["small-b", b])
            here = lambda row: (row["source_hookpoint"], row["target_hookpoint"]) == (f"resid_post.{a}", f"resid_post.{b}")  # noqa: E731
            rows = [m for m in matches if here(m) and m["direction"] == "backward" and m["rank"] == 1]
            rows.sort(key=lambda m: m["target_latent"])
            r = np.array([m["correlation"] for m in rows])
            best = np.array([m["source_latent"] for m in rows])
            ours = {(m["source_latent"], m["target_latent"]) for m in rows if m["kept"]}
            dropped = [m["dropped_by"] for m in rows]
            n_first = len(rows) - sum(dropped.count(d) for d in ("non_concept", "shared_token", "one_to_one"))
            score = {s["measure"]: s["value"] for s in similarities if here(s)}
            differ = {
                "r": float(np.abs(r - mine["r"]).max()),
                "svcca": abs(score["svcca_as_published"] - mine["svcca"]),
                "rsa": abs(score["rsa"] - mine["rsa"]),
            }
            worst = {k: max(worst[k], v) for k, v in differ.items()}
            same = ours == set(mine["pairs"]) and n_first == mine["n_one_to_one"]
            off += not same
            print(
                f"| {a} x {b} | {r.mean():.4f} / {mine['r'].mean():.4f} | {differ['r']:.1e} | {int((best != mine['best']).sum())} "
                f"| {len(ours)} / {len(mine['pairs'])} | {n_first} / {mine['n_one_to_one']} | {len(ours & set(mine['pairs']))} "
                f"| {score['svcca_as_published']:.6f} / {mine['svcca']:.6f} | {score['rsa']:.6f} / {mine['rsa']:.6f} |"
            )
    print("largest differences: " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()) + f"; pairs with another set: {off}")
    if off or max(worst.values()) > LIMIT:
        sys.exit(1)


if __name__ == "__main__":
    main()
