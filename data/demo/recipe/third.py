#!/usr/bin/env python3
"""Step 8: the third model and the SAE of another seed: numbers from the shipped f16 files (computed in f32), and their section
of EVIDENCE.md, which is put at its end (in the place of an earlier one); reference/first_batch_small-c.json.

usage: third.py DEST WORK [--limit DOCS]
Conventions: see reference/README.md.  Correlations are over the first contexts that hold 210 000 tokens, as the controls are.
"""
import argparse, json, os
import numpy as np, scipy.sparse as sp, torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

ap = argparse.ArgumentParser(); ap.add_argument("dest"); ap.add_argument("work"); ap.add_argument("--limit", type=int, default=0)
a = ap.parse_args()
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
T, K, SOME, SEED = 128, 16, 210_000, "a-seed-502"
tok = Tokenizer.from_file(f"{a.dest}/models/small-c/tokenizer.json")
docs = [json.loads(l) for l in open(f"{a.dest}/corpus.jsonl")][:a.limit or None]
ctxs, lang = [], []
for d in docs:
    ids = tok.encode(d["text"], add_special_tokens=False).ids; lang += [d["lang"]] * len(ids)
    ctxs += [[0] + ids[s:s + T - 1] for s in range(0, len(ids), T - 1)]
lang = np.array(lang); N = len(lang); nbytes = sum(len(d["text"].encode()) for d in docs)
pos = np.cumsum([0] + [len(c) - 1 for c in ctxs]); n_some = int(np.searchsorted(pos, min(SOME, N))); N_some = int(pos[n_some])

def folder(name): return f"{a.dest}/saes/small-{name}"
def layers(name): return sorted(int(d.split(".")[1]) for d in os.listdir(folder(name)) if d.startswith("layers."))
def sae(name, i): return {k: v.float() for k, v in load_file(f"{folder(name)}/layers.{i}/sae.safetensors").items()}
def encode(s, x): return F.relu(F.linear(x - s["b_dec"], s["encoder.weight"], s["encoder.bias"])).topk(K, dim=-1)
def decode(s, v, ix): return F.embedding_bag(ix, s["W_dec"], per_sample_weights=v, mode="sum") + s["b_dec"]
def out_of(o): return o[0] if isinstance(o, tuple) else o

@torch.no_grad()
def run(m, saes, n_ctx, want_loss):
    """latents of every non-BOS token of the first contexts, [tokens, latents] per SAE of `saes` ({key: (layer, sae)}); losses; FVU"""
    tap = {}
    hooks = [m.base_model.layers[i].register_forward_hook(lambda mod, inp, o, i=i: tap.__setitem__(i, out_of(o))) for i in {i for i, _ in saes.values()}]
    n = int(pos[n_ctx]); V = {k: np.zeros((n, K), np.float32) for k in saes}; I = {k: np.zeros((n, K), np.int32) for k in saes}
    nll = np.zeros(n, np.float32); sq = dict.fromkeys(saes, 0.0); s1 = dict.fromkeys(saes, 0); s2 = dict.fromkeys(saes, 0.0)
    order = sorted(range(n_ctx), key=lambda c: -len(ctxs[c]))
    for b in range(0, n_ctx, 32):
        cs = order[b:b + 32]; L = max(len(ctxs[c]) for c in cs); x = torch.zeros((len(cs), L), dtype=torch.long); mask = torch.zeros((len(cs), L), dtype=torch.bool)
        for r, c in enumerate(cs): x[r, :len(ctxs[c])] = torch.tensor(ctxs[c]); mask[r, 1:len(ctxs[c])] = True
        dst = np.concatenate([np.arange(pos[c], pos[c + 1]) for c in cs])
        if want_loss:
            ce = F.cross_entropy(m(x).logits[:, :-1].reshape(-1, 4096), x[:, 1:].reshape(-1), reduction="none").reshape(len(cs), -1)
            nll[dst] = ce[mask[:, 1:]].numpy()
        else: m.base_model(x)
        for k, (i, s) in saes.items():
            h = tap[i][mask]; v, ix = encode(s, h); V[k][dst] = v.numpy(); I[k][dst] = ix.numpy()
            sq[k] += (h - decode(s, v, ix)).double().pow(2).sum().item(); s1[k] = s1[k] + h.double().sum(0); s2[k] += h.double().pow(2).sum().item()
    for h in hooks: h.remove()
    fvu = {k: sq[k] / (s2[k] - (s1[k].pow(2).sum() / n).item()) for k in saes}
    X = {k: sp.csr_matrix((V[k].ravel().astype(np.float64), I[k].ravel(), np.arange(0, n * K + 1, K)), shape=(n, saes[k][1]["W_dec"].shape[0])) for k in saes}
    for x in X.values(): x.eliminate_zeros()
    return X, nll, fvu

@torch.no_grad()
def patched(m, i, s, n=224):
    """cross-entropy as it is, with the SAE's output and with the mean in the place of the residual stream (BOS is left as it is)"""
    full = [c for c in range(len(ctxs)) if len(ctxs[c]) == T]; rs = np.random.default_rng(3).choice(full, min(n, len(full)), replace=False); x = torch.tensor([ctxs[c] for c in rs])
    seen = {}
    with_hook = lambda f: m.base_model.layers[i].register_forward_hook(f)
    h = with_hook(lambda mod, inp, o: seen.__setitem__("h", out_of(o))); m.base_model(x[:64]); h.remove(); mean = seen["h"][:, 1:].reshape(-1, m.config.hidden_size).mean(0)
    def ce(): return sum(F.cross_entropy(m(xb).logits[:, :-1].reshape(-1, 4096), xb[:, 1:].reshape(-1), reduction="sum").item() for xb in x.split(32)) / (len(x) * (T - 1))
    def put(f):
        def hook(mod, inp, o):
            h = out_of(o).clone(); h[:, 1:] = f(h[:, 1:].reshape(-1, h.shape[-1])).reshape(h.shape[0], -1, h.shape[-1])
            return (h,) + o[1:] if isinstance(o, tuple) else h
        h = with_hook(hook); r = ce(); h.remove(); return r
    return ce(), put(lambda f: decode(s, *encode(s, f))), put(lambda f: mean.expand_as(f))

def corr(A, B):
    n = A.shape[0]; ma, mb = np.asarray(A.mean(0)).ravel(), np.asarray(B.mean(0)).ravel()
    va = np.asarray(A.multiply(A).mean(0)).ravel() - ma ** 2; vb = np.asarray(B.multiply(B).mean(0)).ravel() - mb ** 2
    with np.errstate(divide="ignore", invalid="ignore"): R = ((A.T @ B).toarray() / n - np.outer(ma, mb)) / np.sqrt(np.outer(va, vb))
    return np.where(np.isfinite(R), R, -np.inf)

LM = {w: AutoModelForCausalLM.from_pretrained(f"{a.dest}/models/small-{w}", dtype=torch.float32).eval() for w in "abc"}
X, nll, fvu = run(LM["c"], {("c", i): (i, sae("c", i)) for i in layers("c")}, len(ctxs), True)
Y, _, fvu_seed = run(LM["a"], {(SEED, i): (i, sae(SEED, i)) for i in layers(SEED)}, len(ctxs), False)
X.update(Y); fvu.update(fvu_seed); PATCHED = {}
for w, i in fvu: PATCHED[w, i] = patched(LM[w[0]], i, sae(w, i))
print("nats/token", nll.mean(dtype=np.float64), "FVU", fvu, flush=True)
some = {k: x[:N_some] for k, x in X.items()}
for w, i in (("a", 2), ("b", 3)): some.update(run(LM[w], {(w, i): (i, sae(w, i))}, n_some, False)[0])

log, exported = json.load(open(f"{a.work}/lm_c/train_log.json")), json.load(open(f"{a.work}/export_report.json"))["c"]; spec = log["spec"]
out, p = [], lambda *s: out.append(" ".join(s))
HEAD = "## A third model, and another seed"
p(f"{HEAD}\n\nOf the shipped f16 files, computed in f32 by `recipe/third.py`, over the whole `corpus.jsonl` unless said otherwise. small-c is a Llama: pre-norm blocks with RMSNorm, SwiGLU and rotation of whole heads, {spec['heads']} query heads that share {spec['kv']} key-value heads, no biases, tied embeddings, 256 positions. "
  f"Tokenizer and training text are those of the other two models; seed, initial weights and data order are its own. It was trained in one cycle of {log['steps']} steps (1024 tokens each, {log['steps'] * log['batch'] * log['ctx'] / 1e6:.2f} M tokens, none of them twice) on one shared thread, peak rate {spec['lr']:.2g}"
  + (", ended by the clock" if log["steps"] < log["steps_asked"] else "") + ". It is the smallest of the three, and predicts less well than small-a and small-b.\n")
p("| | small-c |\n| --- | --- |")
by = lambda g: nll[lang == g].mean(dtype=np.float64)
for name, value in [("layers × width, heads (key-value heads), MLP width", f"{spec['layers']} × {spec['d']}, {spec['heads']} ({spec['kv']}), {spec['inter']}"), ("parameters (tied embedding counted once)", exported["parameters"]), ("seed", spec["seed"]),
    ("validation loss, 256-token windows, f32 (nats/token)", f"{exported['val_f32']:.4f}"), ("the same, f16 storage", f"{exported['val_f16_storage']:.4f}"), ("largest logit difference f32 / f16 storage", f"{exported['max_logit_diff']:.4f}"),
    ("corpus.jsonl, nats/token", f"{nll.mean(dtype=np.float64):.4f}"), ("corpus.jsonl, bits per byte", f"{nll.sum(dtype=np.float64) / np.log(2) / nbytes:.4f}")] + [(f"nats/token, `{g}`", f"{by(g):.3f}") for g in sorted(set(lang))]:
    p(f"| {name} | {value} |")
p("\nValidation loss (nats/token) over steps (first 64 validation windows; the last figure is over all 768): " + ", ".join(f"{r['step']}: {r.get('val', r.get('val_full'))}" for r in log["log"]) + ".\n")
p(f"SAEs of small-c: 1024 latents, TopK 16, residual stream after the named block, as those of the other models. `small-{SEED}` is a second SAE of small-a, trained from seed 502 (initial weights and order of text) on the f16 model; it shows how far two SAEs of one hookpoint agree.\n")
p("| SAE | training tokens | FVU | dead | < 10 tokens | active per token | CE | CE patched | CE increase | CE mean-ablated | loss recovered |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
for k, f in fvu.items():
    fires = np.bincount(X[k].indices, minlength=X[k].shape[1]); ce, ce_sae, ce_mean = PATCHED[k]; tokens = json.load(open(f"{a.work}/sae_{k[0].replace('-', '_')}/train_log.json"))["tokens"]
    p(f"| small-{k[0]} layers.{k[1]} | {tokens} | {f:.4f} | {(fires == 0).mean():.2%} | {(fires < 10).mean():.2%} | {X[k].nnz / N:.2f} | {ce:.4f} | {ce_sae:.4f} | {ce_sae - ce:+.4f} | {ce_mean:.4f} | {(ce_mean - ce_sae) / (ce_mean - ce):.1%} |")
p(f"\nLargest Pearson r of each feature of the first SAE over all features of the second, over the first {N_some} tokens; shuffled: the second SAE's tokens in a random order.\n")
p("| pair | mean | median | r > 0.5 | mutual best | mean, shuffled | mutual best, shuffled |\n| --- | --- | --- | --- | --- | --- | --- |")
perm = np.random.default_rng(5).permutation(N_some)
for u, v in [(("c", i), other) for i in layers("c") for other in (("a", 2), ("b", 3))] + [(("a", 2), ("b", 3)), (("a", 2), (SEED, 2))]:
    cells = []
    for B in (some[v], some[v][perm]):
        R = corr(some[u], B); m = R.max(1); j = R.argmax(1); alive = np.isfinite(m); m = m[alive]
        cells.append((m.mean(), np.median(m), (m > .5).mean(), int(sum(alive[r] and R[:, j[r]].argmax() == r for r in range(len(j))))))
    (mean, median, half, mutual), (mean0, _, _, mutual0) = cells
    p(f"| small-{u[0]} layers.{u[1]} → small-{v[0]} layers.{v[1]} | {mean:.3f} | {median:.3f} | {half:.1%} | {mutual} | {mean0:.3f} | {mutual0} |")
# reference/first_batch_small-c.json: the first 32 contexts, for a test
n = int(pos[32]); first = {f"small-{w}/resid_post.{i}": x[:n] for (w, i), x in some.items() if w != SEED}; R = corr(first["small-a/resid_post.2"], first["small-c/resid_post.3"]); best = R.max(1)
json.dump(dict(tokens=n, latents={k: dict(active_tokens=np.bincount(x.indices, minlength=x.shape[1]).tolist(), mean=[float(f"{v:.7g}") for v in np.asarray(x.mean(0)).ravel()]) for k, x in first.items() if "-c/" in k},
               best_r=dict(source="small-a/resid_post.2", target="small-c/resid_post.3", r=[float(f"{v:.7g}") if np.isfinite(v) else None for v in best])),
          open(f"{a.dest}/reference/first_batch_small-c.json", "w"), separators=(",", ":"))
text = open(f"{a.dest}/EVIDENCE.md").read().split(HEAD)[0].rstrip("\n")
open(f"{a.dest}/EVIDENCE.md", "w").write(text + "\n\n" + "\n".join(out) + "\n")
