"""SAELens' registry of published SAEs as one compact table: data/sae-lens.tsv.zst.

Reads `pretrained_saes.yaml` of the installed sae-lens as SAELens itself reads it, and asks SAELens' own functions for each SAE's
configuration (`get_*_config_from_hf`), without a network: a file that such a function wants to fetch is a stand-in that holds what
the SAE's path says. So a hook comes

- from SAELens' function where it needs no file of the repository for it ("function"),
- else from the id or path by the rule below ("rule"); the function, given the stand-in, must agree,
- else it is left empty: the SAE's own file names it.

Prints, for each conversion function, how many SAEs were checked and how many agree, then errors of the registry that are mended
here. Exits with 1 where function and rule disagree. Run it with a Python that has sae-lens and zstandard:

    python benches/peers/registry.py [--write]
"""

import argparse
import collections
import contextlib
import importlib.metadata
import io
import json
import os
import re
import sys
import tempfile

import yaml
import zstandard
from huggingface_hub.utils import EntryNotFoundError
from sae_lens.loading import pretrained_sae_loaders as loaders
from sae_lens.loading.pretrained_saes_directory import get_config_overrides, get_pretrained_saes_directory

HOME = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
TABLE = os.path.join(HOME, "data/sae-lens.tsv.zst")

# (release, id): what the registry has, what is right
MENDED = {
    # the path is e-res-sm, and every other SAE of the release is named after its path
    ("pythia-70m-deduped-res-sm", "blocks.0.hook_resid_pre"): (
        "pythia-70m-deduped/e-att-sm",
        "pythia-70m-deduped/e-res-sm",
    ),
}

# SAELens' names that do not say what is read, by conversion function: Gemma Scope's transcoders read what enters the MLP, after
# the norm and its weight, and predict what is added to the residual stream, after the post-norm; the transcoders of Qwen 3 read
# what enters the MLP.
PLAIN = {
    "gemma_2_transcoder": [(r"blocks\.(\d+)\.ln2\.hook_normalized", r"mlp_in.\1"), (r"blocks\.(\d+)\.hook_mlp_out", r"mlp_out_normed.\1")],
    "gemma_3": [(r"blocks\.(\d+)\.hook_mlp_in", r"mlp_in.\1"), (r"blocks\.(\d+)\.hook_mlp_out", r"mlp_out_normed.\1")],
    "gemma_2": [(r"blocks\.(\d+)\.hook_mlp_out", r"mlp_out_normed.\1"), (r"hook_embed", r"embed")],
    "mwhanna_transcoder": [(r"blocks\.(\d+)\.mlp\.hook_in", r"mlp_in.\1"), (r"blocks\.(\d+)\.hook_mlp_out", r"mlp_out.\1")],
}


def first(pattern, *texts):
    return next((m.group(1) for m in (re.search(pattern, t) for t in texts) if m), None)


def rule(conversion, repo, sae_id, path):
    """(hook, hook of the output) by id and path alone, in SAELens' words; None where they do not say it."""
    at = lambda layer, place: None if layer is None else f"blocks.{layer}.{place}"
    layer = first(r"layer_(\d+)", path)
    if conversion == "gemma_2":
        if "embedding" in path:
            return "hook_embed", None
        kind = repo.rsplit("-", 1)[-1]
        return at(layer, {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z"}[kind]), None
    if conversion == "gemma_2_transcoder":
        return at(layer, "ln2.hook_normalized"), at(layer, "hook_mlp_out")
    if conversion == "gemma_3":
        kind = path.split("/")[0].removesuffix("_all")
        if kind in ("transcoder", "clt"):
            return at(layer, "hook_mlp_in"), at(layer, "hook_mlp_out")
        return at(layer, {"resid_post": "hook_resid_post", "mlp_out": "hook_mlp_out", "attn_out": "attn.hook_z"}[kind]), None
    if conversion == "mwhanna_transcoder":
        return at(layer, "mlp.hook_in"), at(layer, "hook_mlp_out")
    if conversion == "qwen_scope":
        return at(first(r"layer(\d+)\.sae", path), "hook_resid_post"), None
    if conversion in ("goodfire", "deepseek_r1"):
        return at(first(r"SAE-l(\d+)\.", path), "hook_resid_post"), None
    if conversion == "llama_scope":
        layer, kind = re.fullmatch(r"l(\d+)([ram])_\d+x", sae_id).groups()
        return at(layer, {"r": "hook_resid_post", "a": "hook_attn_out", "m": "hook_mlp_out"}[kind]), None
    if conversion == "llama_scope_r1_distill":
        return at(first(r"/L(\d+)R$", path), "hook_resid_post"), None
    if conversion == "dictionary_learning_1":
        return at(first(r"resid_post_layer_(\d+)", path), "hook_resid_post"), None
    if conversion == "connor_rob_hook_z":
        return at(first(r"_L(\d+)_Hcat_z", path), "attn.hook_z"), None
    if conversion == "mntss_clt_layer_transcoder":
        return None, None
    # sae_lens, temporal: the id is a hook, perhaps with a word behind it
    hook = first(r"^(blocks\.\d+\.(?:attn\.)?hook_(?:resid_pre|resid_mid|resid_post|mlp_out|attn_out|z))(?:$|_)", sae_id)
    return hook, None


class Asked(Exception):
    """A file of the repository that cannot be replaced."""


def stand_in(conversion, sae_id, path, hook, hook_out, folder, used):
    """A function in the place of hf_hub_download: writes what the path says into a file of the wanted name."""

    def download(repo_id=None, filename=None, *_, **__):
        name = os.path.basename(filename)
        layer = int(first(r"blocks\.(\d+)\.", hook or "") or 0)
        made = None
        if conversion == "gemma_3" and name == "config.json":
            raise EntryNotFoundError("no such file")
        if conversion == "mwhanna_transcoder":
            made = {"d_model": {"value": 8}, "d_feature": {"value": 16}, "batch_size": {"value": 128}, "model_name": "stand-in"}
        elif conversion == "temporal":
            made = {
                "llm": {"dimin": 8},
                "data": {"dtype": "float32"},
                "sae": dict.fromkeys(
                    ["exp_factor", "n_heads", "n_attn_layers", "bottleneck_factor", "sae_diff_type", "kval_topk", "tied_weights", "scaling_factor"], 1
                ),
            }
        elif conversion == "dictionary_learning_1":
            used.append(name)
            made = {
                "trainer": {"layer": layer, "dict_class": "AutoEncoder", "activation_dim": 8, "dict_size": 16, "lm_name": "stand-in"},
                "buffer": {"ctx_len": 128},
            }
        elif conversion == "llama_scope":
            used.append(name)
            made = {"d_model": 8, "d_sae": 16, "jump_relu_threshold": 1.0, "hook_point_in": hook, "dataset_average_activation_norm": {"in": 1.0}}
        elif conversion == "llama_scope_r1_distill":
            used.append(name)
            made = {"d_model": 8, "expansion_factor": 2, "hook_point_in": hook}
        elif conversion == "connor_rob_hook_z":
            used.append(name)
            made = {"act_size": 8, "dict_size": 16, "act_name": hook}
        elif conversion == "sae_lens" and hook:
            used.append(name)
            made = {"hook_name": hook, "sae_lens_version": "6.0.0", "architecture": "standard"}
        if made is None:
            raise Asked(filename)
        place = os.path.join(folder, name)
        with open(place, "w") as file:
            (json if name.endswith(".json") else yaml).dump(made, file)
        return place

    return download


def plain(conversion, hook):
    for pattern, made in PLAIN.get(conversion, []):
        if hook and re.fullmatch(pattern, hook):
            return re.sub(pattern, made, hook)
    return hook


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table, else only check it")
    args = parser.parse_args()
    version = importlib.metadata.version("sae-lens")
    directory = get_pretrained_saes_directory()
    loaders.get_safetensors_tensor_shapes = lambda *_: {"w_enc": [8, 16], "w_dec": [16, 8]}
    tally = collections.defaultdict(collections.Counter)
    wrong, lines, mended, by_place = [], [], [], collections.defaultdict(list)
    n = 0
    with tempfile.TemporaryDirectory() as folder:
        for release, said in directory.items():
            conversion = said.conversion_func or "sae_lens"
            config_of = loaders.NAMED_PRETRAINED_SAE_CONFIG_GETTERS[conversion]
            rows, model = [], None
            for sae_id, path in said.saes_map.items():
                n += 1
                count = tally[conversion]
                count["saes"] += 1
                hook, hook_out = rule(conversion, said.repo_id, sae_id, path)
                overrides = get_config_overrides(release, sae_id)
                used = []
                loaders.hf_hub_download = stand_in(conversion, sae_id, path, hook, hook_out, folder, used)
                try:
                    config = config_of(said.repo_id, path, "cpu", False, dict(overrides))
                except Asked:
                    config = None
                    count["the file alone"] += 1
                if config is not None:
                    from_file = bool(used)
                    count["function with the path's stand-in" if from_file else "function"] += 1
                    found = (config.get("hook_name"), config.get("hook_name_out"))
                    if found != (hook, hook_out):
                        wrong.append(f"{release} {sae_id}: function {found}, rule {(hook, hook_out)}")
                    else:
                        count["agree"] += 1
                    name = config.get("model_name")
                    model = model or (name if name and name != "stand-in" else None)
                neuronpedia = said.neuronpedia_id.get(sae_id)
                if (release, sae_id) in MENDED:
                    was, right = MENDED[release, sae_id]
                    if neuronpedia == was:
                        mended.append(f"{release} {sae_id}: Neuronpedia id {was}, mended to {right}")
                        neuronpedia = right
                scale = said.norm_scaling_factor.get(sae_id)
                cells = [
                    sae_id,
                    "" if path == sae_id else path,
                    plain(conversion, hook) or "",
                    plain(conversion, hook_out) or "",
                    "" if scale is None else repr(float(scale)),
                    neuronpedia or "",
                ]
                assert not any("\t" in c or "\n" in c for c in cells), cells
                rows.append("\t".join(cells))
                by_place[said.repo_id, path].append((release, sae_id, scale, neuronpedia, hook))
            overrides = json.dumps(said.config_overrides or {}, separators=(",", ":"), sort_keys=True)
            lines.append("\t".join([">" + release, said.repo_id, model or said.model, conversion, overrides]))
            lines.extend(rows)
    head = f"sae-lens {version}"
    text = "\n".join([head, *lines]) + "\n"

    functions = ["function", "function with the path's stand-in", "the file alone", "agree"]
    print(f"{head}: {len(directory)} releases, {n} SAEs")
    print(f"{'conversion function':<28} {'SAEs':>6} {'by function':>12} {'+ stand-in':>11} {'file alone':>11} {'agree':>6}")
    for conversion, count in sorted(tally.items(), key=lambda t: -t[1]["saes"]):
        print(f"{conversion:<28} {count['saes']:>6} {count[functions[0]]:>12} {count[functions[1]]:>11} {count[functions[2]]:>11} {count['agree']:>6}")
    total = sum(tally.values(), collections.Counter())
    print(f"{'all':<28} {total['saes']:>6} {total[functions[0]]:>12} {total[functions[1]]:>11} {total[functions[2]]:>11} {total['agree']:>6}")
    for line in mended:
        print("mended:", line)
    shared = {place: rows for place, rows in by_place.items() if len(rows) > 1}
    for what, column in [("scales", 2), ("Neuronpedia ids", 3), ("hooks", 4)]:
        differ = [(p, r) for p, r in shared.items() if len({row[column] for row in r if row[column] is not None}) > 1]
        print(f"{len(shared)} paths in several releases; {len(differ)} of them with different {what}", *differ[:3], sep="\n  " if differ else "")
    of_id = collections.defaultdict(set)
    for place, rows in by_place.items():
        for row in rows:
            if row[3]:
                of_id[row[3]].add(place)
    twice = {k: v for k, v in of_id.items() if len(v) > 1}
    print(f"{len(twice)} Neuronpedia ids of several paths", *list(twice.items())[:6], sep="\n  " if twice else "")
    for line in wrong[:40]:
        print("DIFFERS:", line)
    packed = zstandard.ZstdCompressor(level=22).compress(text.encode())
    if args.write:
        with open(TABLE, "wb") as file:
            file.write(packed)
        print(f"{TABLE}: {len(packed)} bytes, {len(text)} unpacked")
    else:
        with open(TABLE, "rb") as file:
            same = zstandard.ZstdDecompressor().decompress(file.read(), max_output_size=1 << 26) == text.encode()
        print("the table in data/ is this one" if same else "the table in data/ is ANOTHER one; write it with --write")
        if not same:
            sys.exit(1)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    with contextlib.redirect_stderr(io.StringIO()):
        main()
