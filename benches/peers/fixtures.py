"""Every fixture through the commands that a person has: a table of the largest differences.

    python3 benches/peers/fixtures.py target/release/cognate tests/fixtures

Models and GGUF files through `cognate activations`, SAEs through `cognate encode --decode`; each tensor is held against the Python
library's own answer, its largest difference divided by the root mean square of the answer, and, of SAEs, the sets of active latents
are compared. Limits are those of the fixtures' README. Needs Python alone. Exit code 1 when anything is out.
"""

import array
import json
import math
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

LIMITS = {"gpt_neo": 2e-4}


def tensors(path):
    """Name to (shape, values) of the f32 tensors of a safetensors file."""
    raw = Path(path).read_bytes()
    (n,) = struct.unpack("<Q", raw[:8])
    out = {}
    for name, about in json.loads(raw[8 : 8 + n]).items():
        if name != "__metadata__" and about["dtype"] == "F32":
            start, end = (8 + n + offset for offset in about["data_offsets"])
            values = array.array("f")
            values.frombytes(raw[start:end])
            out[name] = (about["shape"], values)
    return out


def off(expected, found):
    """Largest difference over the root mean square of what is expected."""
    rms = math.sqrt(sum(v * v for v in expected) / len(expected))
    return max(abs(a - b) for a, b in zip(expected, found)) / rms


def run(*arguments):
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["?"])[0]


def model(cognate, path, reference, out):
    """(largest difference, its tensor, number of tensors) or an error."""
    expected, ours = tensors(reference), {}
    for name in expected:
        sequence, _, rest = name.partition(".")
        if rest.startswith("layer"):
            layer, _, what = rest[5:].partition(".")
            rest = f"{what}.{layer}"
        if rest.split(".")[0] not in ("logits_last", "hf_last_hidden"):
            ours[name] = (sequence, rest)
    hookpoints = sorted({rest for _, rest in ours.values()})
    error = run(cognate, "activations", "--model", path, "--tokens", reference, "--hookpoints", ",".join(hookpoints), "--out", out)
    if error:
        return error
    found = tensors(out)
    worst = max((off(expected[name][1], found[f"{s}.{h}"][1]), name) for name, (s, h) in ours.items())
    return (*worst, len(ours))


def sae(cognate, folder, out):
    """(largest difference, its tensor, active sets) or an error."""
    expected = tensors(folder / "reference.safetensors")
    error = run(cognate, "encode", "--sae", folder, "--input", folder / "reference.safetensors", "--decode", "--out", out)
    if error:
        return error
    found = tensors(out)
    (n, width), features = expected["features"]
    latents = found["latents"][1]
    rows = lambda values: [values[r * width : (r + 1) * width] for r in range(n)]
    if "topk_ties" in str(folder):
        # which of equal latents is kept is not promised: the values are
        pairs = [(sorted(a), sorted(b)) for a, b in zip(rows(features), rows(latents))]
        differ = sum(sum(v != 0 for v in a) != sum(v != 0 for v in b) for a, b in pairs)
        features, latents = ([v for row in side for v in row] for side in zip(*pairs))
        # nor which of their decoder rows are summed: the output must follow from our own latents
        w_dec, b_dec = (tensors(folder / "sae.safetensors")[name] for name in ("W_dec", "b_dec"))
        d = w_dec[0][1]
        decoded = []
        for row in rows(found["latents"][1]):
            out_row = list(b_dec[1])
            for latent, value in ((i, v) for i, v in enumerate(row) if v != 0):
                out_row = [o + value * w for o, w in zip(out_row, w_dec[1][latent * d : (latent + 1) * d])]
            decoded += out_row
        expected["decoded"] = (None, decoded)
        expected.pop("forward", None)
    else:
        differ = sum(any((u != 0) != (v != 0) for u, v in zip(a, b)) for a, b in zip(rows(features), rows(latents)))
    output = "forward" if "forward" in expected else "decoded"
    worst = max((off(features, latents), "features"), (off(expected[output][1], found["reconstruction"][1]), output))
    return (*worst, "equal" if differ == 0 else f"{differ} rows differ")


def main():
    cognate, fixtures = Path(sys.argv[1]), Path(sys.argv[2])
    bad = 0
    print(f"{'fixture':<72} {'largest / RMS':>13} {'limit':>7}  where, what else")
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.safetensors"
        jobs = []
        for folder in sorted(p.parent for p in (fixtures / "models").glob("*/reference.safetensors")):
            limit = LIMITS.get(folder.name, 5e-5)
            jobs.append((folder, limit, lambda f=folder: model(cognate, f, f / "reference.safetensors", out)))
        for file in sorted((fixtures / "gguf").glob("*.gguf")):
            if file.stem != "dequant_all_types":  # tensors alone, no model: `gguf_tensors_of_every_type…` of the tests
                jobs.append((file, 1e-4, lambda f=file: model(cognate, f, f.with_suffix(".reference.safetensors"), out)))
        for entry in json.loads((fixtures / "saes/index.json").read_text()):
            folder = fixtures / entry["path"]
            jobs.append((folder, 5e-5, lambda f=folder: sae(cognate, f, out)))
        for path, limit, job in jobs:
            result = job()
            name = path.relative_to(fixtures)
            if isinstance(result, str):
                bad += 1
                print(f"{name!s:<72} {'-':>13} {limit:>7.0e}  {result}")
                continue
            worst, where, more = result
            fine = worst <= limit and "differ" not in str(more)
            bad += not fine
            more = f"{more} tensors" if isinstance(more, int) else f"active sets {more}"
            print(f"{name!s:<72} {worst:>13.1e} {limit:>7.0e}  {where}, {more}{'' if fine else '  OUT'}")
    print(f"{len(jobs)} fixtures, {bad} out")
    sys.exit(bool(bad))


main()
