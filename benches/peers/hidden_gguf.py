"""Hidden states of a GGUF model, Cognate's and those of transformers' own GGUF loading, on the same token ids.

For every hookpoint: the largest absolute difference over the root mean square of transformers' values, and beside it how far
both, in float32, are from transformers in float64, by the same measure: where single values are a hundred times the root mean
square, float32 alone may take more than the limit. Exits with 1 above 1e-4, whatever stands beside it. Run it with the Python
of .venv (setup.sh makes it); the models come from data/real/fetch.sh.
"""

import argparse
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
TEXT = (
    "The Seine flows through Paris, the capital of France, and reaches the sea at Le Havre.\n"
    "def mean(values):\n    return sum(values) / len(values)\n"
    "Im Anfang war das Wort; après la pluie, le beau temps. 1, 2, 3, 5, 8, 13."
)

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model", nargs="?", default="data/real/SmolLM2-135M-Instruct.Q4_1.gguf", help="a GGUF file")
parser.add_argument("--binary", default=os.path.join(HOME, "target/release/cognate"))
parser.add_argument("--limit", type=float, default=1e-4, help="largest difference over the root mean square")
args = parser.parse_args()
path = os.path.abspath(os.path.join(HOME, args.model))
if not os.path.isfile(path):
    sys.exit(f"hidden_gguf.py: {path} is not there; data/real/fetch.sh gets it")

folder, file = os.path.split(path)
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32, attn_implementation="eager").eval()
bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
ids = torch.tensor([bos + tokenizer(TEXT, add_special_tokens=False)["input_ids"]])


def hidden_states():
    """Outputs of the modules themselves: the last of transformers' hidden_states is behind the final norm."""
    found, body = {}, model.model

    def keep(name):
        def hook(_module, _inputs, output):
            output = output[0] if isinstance(output, tuple) else output
            found[name] = output.detach().double().reshape(1, ids.shape[1], -1)

        return hook

    hooks = [body.norm.register_forward_hook(keep("final_norm"))]
    for l, block in enumerate(body.layers):
        hooks.append(block.register_forward_hook(keep(f"resid_post.{l}")))
        hooks.append(block.self_attn.o_proj.register_forward_hook(keep(f"attn_out.{l}")))
        hooks.append(block.mlp.register_forward_hook(keep(f"mlp_out.{l}")))
    with torch.no_grad():
        out = model(ids, output_hidden_states=True)
    for hook in hooks:
        hook.remove()
    found["embed"] = out.hidden_states[0].double()
    return found, tokenizer.decode(out.logits[0, -1].argmax())


theirs, word = hidden_states()
model.double()
exact, _ = hidden_states()
print(f"{file}: {ids.shape[1]} tokens, {len(theirs)} hookpoints, transformers' next token {word!r}")

with tempfile.TemporaryDirectory() as work:
    tokens, written = os.path.join(work, "tokens.safetensors"), os.path.join(work, "out.safetensors")
    save_file({"input_ids": ids}, tokens)
    command = [args.binary, "activations", "--model", path, "--tokens", tokens, "--hookpoints", ",".join(theirs), "--out", written]
    done = subprocess.run(command, cwd=HOME, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}")
    ours = load_file(written)

worst, above, excused = 0.0, 0, 0
print("                 difference in float32      from float64")
print("hookpoint      Cognate, transformers    Cognate  transformers")
for name in sorted(theirs, key=lambda n: (n.split(".")[0], int(n.split(".")[1]) if "." in n else 0)):
    rms = theirs[name].pow(2).mean().sqrt()
    off = ((theirs[name] - ours[name].double()).abs().max() / rms).item()
    own, here = (((side[name].double() - exact[name]).abs().max() / rms).item() for side in (theirs, ours))
    worst, above, excused = max(worst, off), above + (off > args.limit), excused + (off > args.limit and own > args.limit)
    print(f"{name:<14} {off:>21.1e} {here:>10.1e} {own:>13.1e}{'  above the limit' if off > args.limit else ''}")
print(f"largest {worst:.1e}; {above} of {len(theirs)} hookpoints above {args.limit:.0e}", end="")
print(f", at {excused} of them transformers in float32 is itself that far from float64")
sys.exit(0 if worst <= args.limit else 1)
