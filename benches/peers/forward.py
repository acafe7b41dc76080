"""A forward to the hooked layer, Cognate's and torch's, beside the bare products of the linear layers: processor seconds.

Random GPT-NeoX models of Pythia-70m's and Pythia-160m's shapes and SmolLM2-135M (data/real/fetch.sh smollm2), contexts of 256
tokens. torch runs transformers' model, cut behind the layer that is read, in f32 with sdpa, as batches of 8 contexts without a
mask. The floor is the products alone by Cognate's own kernel (benches/parts.rs), on weights of the same shapes. All three
are timed in turn, each after a call that is not counted; OMP_WAIT_POLICY=passive keeps torch's threads from spinning.

Writes Markdown to standard output and every figure to --json. Run it with the Python of .venv.
"""

import os
import sys

import rig
from rig import HOME, spread

parser = rig.parser(__doc__, rounds=5, work="the models")
parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
parser.add_argument("--contexts", type=int, default=16)
parser.add_argument("--models", nargs="+", default=["pythia-70m", "pythia-160m", "smollm2"])
args = parser.parse_args()
rig.wait_passively()

import torch  # noqa: E402
from transformers import AutoModel, GPTNeoXConfig, GPTNeoXModel  # noqa: E402

torch.set_grad_enabled(False)
LENGTH, BATCH = 256, 8
GGUF = os.path.join(HOME, "data/real/SmolLM2-135M-Instruct.Q4_1.gguf")
# shape and the block whose output is read
NEOX = {"pythia-70m": (512, 6, 8, 3), "pythia-160m": (768, 12, 12, 6)}


def prepare(name):
    """Path for Cognate, hookpoint, torch's model cut behind it, sides (out, in) of the linear layers that run."""
    if name == "smollm2":
        model = AutoModel.from_pretrained(os.path.dirname(GGUF), gguf_file=os.path.basename(GGUF), dtype=torch.float32)
        last, path = 14, GGUF
        model.norm = torch.nn.Identity()
    else:
        d, n_layers, n_heads, last = NEOX[name]
        path = os.path.join(HOME, args.work, name)
        config = GPTNeoXConfig(
            hidden_size=d,
            num_hidden_layers=n_layers,
            num_attention_heads=n_heads,
            intermediate_size=4 * d,
            vocab_size=50304,
            rotary_pct=0.25,
            max_position_embeddings=2048,
        )
        torch.manual_seed(0)
        model = GPTNeoXModel(config)
        model.save_pretrained(path)
        model.final_layer_norm = torch.nn.Identity()
    model.config._attn_implementation = "sdpa"
    model.layers = model.layers[: last + 1]
    model.config.num_hidden_layers = last + 1
    sides = [f"{m.out_features},{m.in_features}" for m in model.layers.modules() if isinstance(m, torch.nn.Linear)]
    return path, f"resid_post.{last}", model.eval(), sides


def ids(n_vocab):
    """The tokens that benches/parts.rs makes."""
    c, p = torch.arange(args.contexts)[:, None], torch.arange(LENGTH)[None, :]
    return (c * 7919 + p * 31 + p * p % 101) % n_vocab


binary = args.binary or rig.built()
figures = []
for name in args.models:
    if name == "smollm2" and not os.path.isfile(GGUF):
        print(f"skipped: {GGUF} is not there; data/real/fetch.sh smollm2 gets it", file=sys.stderr)
        continue
    path, hookpoint, model, sides = prepare(name)
    tokens = ids(model.config.vocab_size)

    def forward():
        for batch in tokens.split(BATCH):
            model(batch, use_cache=False)

    for threads in args.threads:
        torch.set_num_threads(threads)
        for turn in range(args.rounds):
            command = [binary, "forward", path, hookpoint, str(LENGTH), str(args.contexts), *sides]
            ours = rig.ask(command, threads)
            forward()
            theirs, _ = rig.timed(forward)
            figures.append({"model": name, "hookpoint": hookpoint, "threads": threads, "turn": turn, **ours, "torch_cpu_s": theirs})
            print(f"{name}, {threads} threads, round {turn + 1} of {args.rounds}", file=sys.stderr, flush=True)
            rig.keep(figures, args.json)


print(f"CPU seconds per million tokens, contexts of {LENGTH}; medians of {args.rounds} rounds (smallest to largest)\n")
print("| model | threads | Cognate | torch | the products alone | torch's over Cognate's | Cognate's over the products' |")
print("|---|---|---|---|---|---|---|")
for name in args.models:
    for threads in args.threads:
        rows = [f for f in figures if (f["model"], f["threads"]) == (name, threads)]
        if not rows:
            continue
        per = {k: [f[k] / f["tokens"] * 1e6 for f in rows] for k in ("cpu_s", "torch_cpu_s", "floor_cpu_s")}
        over = [f["torch_cpu_s"] / f["cpu_s"] for f in rows]
        floor = [f["cpu_s"] / f["floor_cpu_s"] for f in rows]
        print(
            f"| {name}, {rows[0]['hookpoint']} | {threads} | {spread(per['cpu_s'])} | {spread(per['torch_cpu_s'])} "
            f"| {spread(per['floor_cpu_s'])} | {spread(over, 2)} | {spread(floor, 2)} |"
        )
