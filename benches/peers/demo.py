"""The Python way of what Cognate does: transformers, torch, scipy, with the choices of one.toml, nine.toml and shapes.toml.

Contexts of 128 tokens (256 for the true shapes), BOS before every context and not counted, contexts never cross documents, a short last one kept.
Batches are padded on the right; causal attention then never sees the padding, so no mask is needed and torch takes its
fastest causal kernel (sdpa). SAEs as sparsify encodes them: relu((x - b_dec) W + b), then torch.topk.

--way dense   holds every activation, standardises, one matrix product (as the paper's code does): memory grows
--way stream  per batch scipy.sparse A.T @ B onto f64 sums: memory stays

Prints one JSON object; writes the correlations with --out, one array a pair, named SOURCE|TARGET.
"""

import argparse
import json
import os
import resource
import time

START = time.perf_counter()

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--pairs", choices=["one", "nine", "shapes", "wide"], default="one")
parser.add_argument("--way", choices=["dense", "stream"], default="stream")
parser.add_argument("--blocks", choices=["all", "needed"], default="all", help="run whole models, or cut behind the last block read")
parser.add_argument("--threads", type=int, default=1)
parser.add_argument("--device", default="cpu", help="where torch computes: cpu, cuda:0")
parser.add_argument("--dtype", default="float32", help="of models and SAEs: float32, bfloat16, float16")
parser.add_argument("--data", help="folder of the models and SAEs of shapes and wide [default: runs/shapes]")
parser.add_argument("--max-tokens", type=int, default=0, help="stop after the batch in which this many are reached; 0 = all")
parser.add_argument("--batch", type=int, default=32, help="contexts a batch")
parser.add_argument("--fold-batches", type=int, default=8, help="batches gathered before one sparse product")
parser.add_argument("--out", help="npz file for the correlations")
args = parser.parse_args()
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[name] = str(args.threads)  # before the libraries look

import numpy as np  # noqa: E402
import scipy.sparse as sparse  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402
from transformers import AutoModel  # noqa: E402

torch.set_num_threads(args.threads)
torch.set_grad_enabled(False)

DEVICE, DTYPE = torch.device(args.device), getattr(torch, args.dtype)
CONTEXT = 128 if args.pairs in ("one", "nine") else 256
BOS = 0
HOME = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
CORPUS = f"{HOME}/data/demo/corpus.jsonl"
DATA = f"{HOME}/data/demo" if args.pairs in ("one", "nine") else args.data or f"{HOME}/runs/shapes"
LAYERS = {
    "one": {"small-a": [2], "small-b": [3]},
    "nine": {"small-a": [1, 2, 3], "small-b": [1, 3, 5]},
    "shapes": {"pythia-160m": [6], "pythia-70m": [3]},
    "wide": {"wide-2b": [13], "pythia-160m": [6]},
}[args.pairs]
FIRST, SECOND = LAYERS
PAIRS = [(f"{FIRST}/resid_post.{a}", f"{SECOND}/resid_post.{b}") for a in LAYERS[FIRST] for b in LAYERS[SECOND]]


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


stages = {}


class stage:
    """Adds the seconds of a block to a stage."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.start = time.perf_counter()

    def __exit__(self, *_):
        stages[self.name] = stages.get(self.name, 0.0) + time.perf_counter() - self.start


def open_model(name):
    model = AutoModel.from_pretrained(f"{DATA}/models/{name}", dtype=DTYPE, attn_implementation="sdpa").eval().to(DEVICE)
    model.final_layer_norm = torch.nn.Identity()  # the last hidden state is then the last block's output itself
    if args.blocks == "needed":
        model.layers = model.layers[: max(LAYERS[name]) + 1]
        model.config.num_hidden_layers = len(model.layers)
    return model


def open_sae(name, layer):
    folder = f"{DATA}/saes/{name}/layers.{layer}"
    w = {k: v.to(DEVICE, DTYPE) for k, v in load_file(f"{folder}/sae.safetensors").items()}
    return w["encoder.weight"], w["encoder.bias"], w["b_dec"], json.load(open(f"{folder}/cfg.json"))["k"]


def encode(sae, x):
    weight, bias, b_dec, k = sae
    return torch.nn.functional.linear(x - b_dec, weight, bias).relu_().topk(k, dim=-1, sorted=False)


def contexts():
    """Token ids of every context, in order."""
    tokenizer = Tokenizer.from_file(f"{DATA}/models/{FIRST}/tokenizer.json")
    with open(CORPUS, encoding="utf-8") as file:
        while lines := file.readlines(1 << 18):
            with stage("read"):
                encoded = tokenizer.encode_batch_fast([json.loads(line)["text"] for line in lines], add_special_tokens=False)
                ids = [e.ids for e in encoded]
            for document in ids:
                for start in range(0, len(document), CONTEXT - 1):
                    yield [BOS, *document[start : start + CONTEXT - 1]]


def batches():
    """Ids [n, longest], padded on the right, and which positions count."""
    rows, tokens = [], 0
    for context in contexts():
        rows.append(context)
        if len(rows) == args.batch:
            tokens += sum(len(r) - 1 for r in rows)
            yield padded(rows)
            rows = []
            if args.max_tokens and tokens >= args.max_tokens:
                return
    if rows:
        yield padded(rows)


def padded(rows):
    longest = max(len(r) for r in rows)
    ids = torch.tensor([r + [BOS] * (longest - len(r)) for r in rows])
    counted = torch.arange(longest)[None, :] < torch.tensor([len(r) for r in rows])[:, None]
    counted[:, 0] = False
    return ids, counted


class Dense:
    """Every activation is kept; correlation by standardising and one product."""

    def __init__(self, sites):
        self.rows = {s: [] for s in sites}

    def add(self, found):
        for site, (values, latents, width) in found.items():
            self.rows[site].append(torch.zeros(len(values), width).scatter_(1, latents, values))

    def correlations(self):
        for site, parts in self.rows.items():
            x = torch.cat(parts)
            parts.clear()
            x -= x.mean(0)
            x /= x.std(0, correction=0)
            self.rows[site] = x
        n = len(x)
        if BEST_ONLY:
            return {(a, b): best(self.rows[a][:, at].T @ self.rows[b] / n for at in strips(a)) for a, b in PAIRS}
        return {(a, b): (self.rows[a].T @ self.rows[b] / n).numpy() for a, b in PAIRS}


class Stream:
    """Sums only: per latent, and per pair the sparse product of a few batches added onto a dense f64 matrix."""

    def __init__(self, sites):
        self.sums = {s: 0.0 for s in sites}
        self.squares = {s: 0.0 for s in sites}
        self.cross = {}
        self.n = 0
        self.waiting = []

    def add(self, found):
        self.waiting.append(found)
        if len(self.waiting) == args.fold_batches:
            self.fold()

    def fold(self):
        if not self.waiting:
            return
        csr = {}
        for site in self.sums:
            values = np.concatenate([f[site][0].numpy().ravel() for f in self.waiting]).astype(np.float64)
            latents = np.concatenate([f[site][1].numpy().ravel() for f in self.waiting]).astype(np.int32)
            n, k = sum(len(f[site][0]) for f in self.waiting), self.waiting[0][site][0].shape[1]
            width = self.waiting[0][site][2]
            csr[site] = sparse.csr_matrix((values, latents, np.arange(0, n * k + 1, k)), shape=(n, width))
            self.sums[site] += np.bincount(latents, values, width)
            self.squares[site] += np.bincount(latents, values * values, width)
        self.n += n
        turned = {a: csr[a].T.tocsr() for a, _ in PAIRS}
        for a, b in PAIRS:
            product = turned[a] @ csr[b]
            if (a, b) not in self.cross:
                self.cross[a, b] = np.zeros(product.shape)
            # the fastest way found to add a sparse matrix to a dense one; every place is there once
            product = product.tocoo()
            self.cross[a, b].ravel()[product.row.astype(np.int64) * product.shape[1] + product.col] += product.data
        self.waiting = []

    def correlations(self):
        self.fold()
        out = {}
        spread = {s: np.sqrt(self.n * self.squares[s] - self.sums[s] ** 2) for s in self.sums}
        for a, b in PAIRS:
            if BEST_ONLY:
                out[a, b] = best(self.strip(a, b, spread, at) for at in strips(a))
                continue
            over = self.n * self.cross[a, b] - np.outer(self.sums[a], self.sums[b])
            with np.errstate(divide="ignore", invalid="ignore"):
                out[a, b] = over / np.outer(spread[a], spread[b])
        return out

    def strip(self, a, b, spread, at):
        over = self.n * self.cross[a, b][at] - np.outer(self.sums[a][at], self.sums[b])
        with np.errstate(divide="ignore", invalid="ignore"):
            return torch.from_numpy(over / np.outer(spread[a][at], spread[b]))


# at 32768 latents per side all correlations are too many to hold: rows' and columns' best are taken by strips
BEST_ONLY = args.pairs in ("shapes", "wide")


def strips(site):
    width = next(len(s[1]) for (name, layer), s in saes.items() if site == f"{name}/resid_post.{layer}")
    return [slice(i, i + 1024) for i in range(0, width, 1024)]


def best(parts):
    """Best correlation and partner of every row, then of every column: [2, rows + columns]."""
    rows, columns, first = [], None, 0
    for part in parts:
        part = part.nan_to_num(nan=-2.0)
        rows.append(torch.stack([v.double() for v in part.max(1)]))
        found = torch.stack([v.double() for v in part.max(0)])
        found[1] += first
        first += len(part)
        columns = found if columns is None else torch.where(found[0] > columns[0], found, columns)
    return torch.cat([*rows, columns], 1).numpy()


with stage("load"):
    models = {name: open_model(name) for name in LAYERS}
    saes = {(name, layer): open_sae(name, layer) for name, layers in LAYERS.items() for layer in layers}
sites = [f"{name}/resid_post.{layer}" for name, layer in saes]
way = {"dense": Dense, "stream": Stream}[args.way](sites)
begin_wall, begin_cpu = time.perf_counter(), cpu_seconds()
n_tokens = 0
for ids, counted in batches():
    found = {}
    for name, layers in LAYERS.items():
        with stage("forward"):
            states = models[name](ids.to(DEVICE), use_cache=False, output_hidden_states=True).hidden_states
        with stage("encode"):
            for layer in layers:
                values, latents = (x.cpu() for x in encode(saes[name, layer], states[layer + 1][counted.to(DEVICE)]))
                values = values.float()
                found[f"{name}/resid_post.{layer}"] = (values, latents, len(saes[name, layer][1]))
    n_tokens += int(counted.sum())
    with stage("fold"):
        way.add(found)
with stage("correlate"):
    correlations = way.correlations()
end_wall, end_cpu = time.perf_counter(), cpu_seconds()
if args.out:
    np.savez(args.out, **{f"{a}|{b}": r for (a, b), r in correlations.items()})
print(
    json.dumps(
        {
            "pairs": args.pairs,
            "way": args.way,
            "blocks": args.blocks,
            "threads": args.threads,
            "tokens": n_tokens,
            "start_wall_s": begin_wall - START,
            "start_cpu_s": begin_cpu,
            "wall_s": end_wall - begin_wall,
            "cpu_s": end_cpu - begin_cpu,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "stages": {k: round(v, 3) for k, v in stages.items()},
        }
    )
)
