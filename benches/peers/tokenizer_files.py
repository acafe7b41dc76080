"""What AutoTokenizer makes of the files beside a tokenizer.json, and of the files of before there was one.

    python benches/peers/tokenizer_files.py tests/fixtures/tokenizers tests/fixtures/tokenizer_files.json

Each case takes one of the small tokenizers, puts other files beside it or takes some away, and keeps the ids that
`AutoTokenizer.from_pretrained(FOLDER)` gives for a few texts, no special token put in; or why it gives none.
tests/corpus.rs goes through them. Needs transformers 5 and tokenizers.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
import transformers
from transformers import AutoTokenizer

transformers.utils.logging.set_verbosity(logging.CRITICAL)

TEXTS = [
    "Hello there, <|user|> says 12345 things.",
    "a <mask> b<mask>c  <mask>\n<mask> ",
    "<|user|><|user|>  <|User|> x<|endoftext|>y</s>z <s>w",
    "foo bar foobar Foo  foo\tCafé naïve — don't",
    "  two spaces,    four spaces\n\n",
]

MODEL_TYPES = {"gpt2_bpe": "gpt2", "llama_sp": "llama", "llama3_bpe": "llama", "neox_bpe": "gpt_neox", "qwen_bpe": "qwen3", "opt_bpe": "opt", "gemma_sp": "gemma"}


def token(content, **flags):
    return {"content": content, "lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True, **flags}


def bare(content, **flags):
    return {k: v for k, v in token(content, **flags).items() if k != "special"}


def cases(base, folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    config = json.loads((folder / "tokenizer_config.json").read_text())
    special = json.loads((folder / "special_tokens_map.json").read_text())
    n = max([*tokenizer["model"]["vocab"].values(), *(t["id"] for t in tokenizer["added_tokens"])]) + 1
    there = {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in tokenizer["added_tokens"]}
    word = next(t for t in tokenizer["model"]["vocab"] if len(t) == 3 and t.isascii() and t.isalpha())

    def with_config(**more):
        return {"tokenizer_config.json": {**config, **more}}

    yield "as it is", {}, []
    yield "no companions", {}, ["tokenizer_config.json", "special_tokens_map.json"]
    yield "decoder: one token more", with_config(added_tokens_decoder={str(n): token("<|user|>")}), []
    yield "decoder: all and two more", with_config(added_tokens_decoder={**there, str(n): token("<|user|>"), str(n + 1): token("<mask>", lstrip=True)}), []
    yield "decoder: rstrip and single word", with_config(added_tokens_decoder={str(n): token("<mask>", rstrip=True), str(n + 1): token("foo", single_word=True, special=False)}), []
    yield "decoder: normalized", with_config(added_tokens_decoder={str(n): token("foo bar", normalized=True, special=False), str(n + 1): token("Café", normalized=True, special=False)}), []
    yield "decoder: flags left out", with_config(added_tokens_decoder={str(n): {"content": "foo"}, str(n + 1): {"content": "<mask>", "special": True}}), []
    yield "decoder: a gap", with_config(added_tokens_decoder={str(n + 3): token("<|user|>")}), []
    yield "decoder: out of order", with_config(added_tokens_decoder={str(n + 1): token("<mask>"), str(n): token("<|user|>")}), []
    yield "decoder: other flags of one that is there", with_config(added_tokens_decoder={k: {**v, "lstrip": True} for k, v in there.items()}), []
    yield "decoder: a word of the vocabulary", with_config(added_tokens_decoder={str(tokenizer["model"]["vocab"][word]): token(word, special=False)}), []
    yield "decoder: empty, and added_tokens.json", {**with_config(added_tokens_decoder={}), "added_tokens.json": {"<|user|>": n}}, []
    yield "added_tokens.json", {"added_tokens.json": {"<|user|>": n, "<mask>": n + 1}}, []
    yield "added_tokens.json, special by the map", {"added_tokens.json": {"<|user|>": n, "<mask>": n + 1}, "special_tokens_map.json": {**special, "mask_token": bare("<mask>", lstrip=True)}}, []
    yield "added_tokens.json without tokenizer_config.json", {"added_tokens.json": {"<|user|>": n}}, ["tokenizer_config.json"]
    yield "map: additional special tokens", {"special_tokens_map.json": {**special, "additional_special_tokens": ["<|user|>", "<mask>"]}}, []
    yield "map: additional special tokens with flags", {"special_tokens_map.json": {**special, "additional_special_tokens": ["<|user|>", bare("<mask>", lstrip=True)]}}, []
    yield "map: a pad token that is new", {"special_tokens_map.json": {**special, "pad_token": "<mask>"}}, []
    yield "map beside a decoder", {**with_config(added_tokens_decoder=there), "special_tokens_map.json": {**special, "additional_special_tokens": ["<|user|>"]}}, []
    yield "config: additional special tokens", with_config(additional_special_tokens=["<|user|>", {**token("<mask>", rstrip=True), "__type": "AddedToken"}]), []
    yield "config: extra special tokens", with_config(extra_special_tokens=["<|user|>"]), []
    yield "config: extra special tokens by name", with_config(extra_special_tokens={"user_token": "<|user|>"}), []
    yield "config: a token of its own name", with_config(user_token="<|user|>"), []
    yield "config: a mask token that is new", with_config(mask_token="<mask>"), []
    yield "config: a mask token with flags", with_config(mask_token={**token("<mask>", lstrip=True), "__type": "AddedToken"}), []
    yield "config: split special tokens", with_config(split_special_tokens=True), []
    yield "config: a prefix space", with_config(add_prefix_space=True), []
    yield "config: no prefix space", with_config(add_prefix_space=False), []
    own = {"gpt2": "GPT2Tokenizer", "opt": "GPT2Tokenizer", "gpt_neox": "GPTNeoXTokenizer", "llama": "LlamaTokenizer", "qwen3": "Qwen2Tokenizer", "gemma": "GemmaTokenizer"}[MODEL_TYPES[base]]
    yield "own class", with_config(tokenizer_class=own), []
    yield "own class, one token more", with_config(tokenizer_class=own, added_tokens_decoder={str(n): token("<|user|>")}), []
    yield "own class, a prefix space", with_config(tokenizer_class=own, add_prefix_space=True), []
    yield "own class, legacy", with_config(tokenizer_class=own, legacy=True), []
    yield "own class, not legacy", with_config(tokenizer_class=own, legacy=False), []
    yield "own fast class, legacy", with_config(tokenizer_class=own + "Fast", legacy=True), []
    if tokenizer["model"]["type"] == "BPE" and "sp" not in base.split("_"):
        vocab = dict(tokenizer["model"]["vocab"])
        merges = "#version: 0.2\n" + "\n".join(" ".join(m) if isinstance(m, list) else m for m in tokenizer["model"]["merges"]) + "\n"
        old = {"vocab.json": vocab, "merges.txt": merges}
        whole = {**vocab, **{t["content"]: t["id"] for t in tokenizer["added_tokens"]}}
        for cls in [own, "PreTrainedTokenizerFast", None]:
            named = {"tokenizer_config.json": {k: v for k, v in {**config, "tokenizer_class": cls}.items() if v is not None or k == "bos_token"}}
            yield f"vocab.json and merges.txt, {cls}", {**old, **named}, ["tokenizer.json"]
            yield f"vocab.json with all tokens, {cls}", {**old, "vocab.json": whole, **named}, ["tokenizer.json"]
        named = {"tokenizer_config.json": {**config, "tokenizer_class": own}}
        yield "vocab.json, merges.txt, added_tokens.json", {**old, **named, "added_tokens.json": {t["content"]: t["id"] for t in tokenizer["added_tokens"]}}, ["tokenizer.json"]
        yield "vocab.json, merges.txt, decoder", {**old, "tokenizer_config.json": {**config, "tokenizer_class": own, "added_tokens_decoder": {**there, str(n): token("<|user|>")}}}, ["tokenizer.json"]
        yield "vocab.json, merges.txt, a prefix space", {**old, "vocab.json": whole, "tokenizer_config.json": {**config, "tokenizer_class": own, "add_prefix_space": True}}, ["tokenizer.json"]
        yield "vocab.json and merges.txt alone", {**old, "vocab.json": whole}, ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
        yield "vocab.json alone", {"vocab.json": whole, **named}, ["tokenizer.json"]


def main(source, out):
    done = []
    for folder in sorted(Path(source).iterdir()):
        for name, files, without in cases(folder.name, folder):
            files = {"config.json": {"model_type": MODEL_TYPES[folder.name]}, **files}
            with tempfile.TemporaryDirectory() as made:
                for file in ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]:
                    if file not in without:
                        shutil.copy(folder / file, made)
                for file, content in files.items():
                    Path(made, file).write_text(content if isinstance(content, str) else json.dumps(content))
                case = {"tokenizer": folder.name, "name": name, "files": files, "without": without}
                try:
                    tokenizer = AutoTokenizer.from_pretrained(made)
                    case["class"] = type(tokenizer).__name__
                    case["ids"] = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
                except Exception as e:
                    case["refuses"] = type(e).__name__
            # What can be made again from the tokenizer itself is not kept twice.
            for file in ("vocab.json", "merges.txt"):
                if file in case["files"]:
                    case["files"][file] = "with added tokens" if file == "vocab.json" and len(files[file]) > json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"].__len__() else "of the model"
            done.append(case)
    kept = {"transformers": transformers.__version__, "texts": TEXTS, "cases": []}
    Path(out).write_text(json.dumps(kept)[:-2] + "\n" + ",\n".join(json.dumps(c) for c in done) + "\n]}\n")
    print(len(done), "cases,", sum("refuses" in c for c in done), "refused")


if __name__ == "__main__":
    main(*sys.argv[1:])
