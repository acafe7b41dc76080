"""Is a dict written as the dataflow file that it means? Read back by another's reader, with every kind of value."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

from cognate import to_toml

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later have a reader of TOML")


def test_every_kind_of_value() -> None:
    flow = {
        "format": 1,
        "name": "a",
        "seed": 2**62,
        "corpus": {"files": ["x.jsonl", Path("y/z.txt")], "pack": True, "sample": {"fraction": 0.5, "seed": -1}},
        "saes": {"a/resid_post.0": {"path": 'C:\\x "y"\n\t\x7f é 😀'}, "b.c": {"k": 1e-7}},
        "compare": {"pairs": [["a", "b"], ("c", "d")]},
        "models": {},
        "list_of_tables": [{"a b": 1, "c": {"d": []}}, {}],
    }
    read = tomllib.loads(to_toml(flow))
    expected = {**flow, "corpus": {**flow["corpus"], "files": ["x.jsonl", "y/z.txt"]}, "compare": {"pairs": [["a", "b"], ["c", "d"]]}}
    assert read == expected


def test_random_dicts_come_back() -> None:
    draw = random.Random(5)
    letters = 'ab-_. "\\\n\x00\x1f\x7f\u0085é𝄞#[]=,'

    def text() -> str:
        return "".join(draw.choice(letters) for _ in range(draw.randrange(5)))

    def value(depth: int) -> object:
        kind = draw.randrange(6 if depth else 4)
        if kind == 4:
            return [value(depth - 1) for _ in range(draw.randrange(4))]
        if kind == 5:
            return {text(): value(depth - 1) for _ in range(draw.randrange(4))}
        return [text(), draw.randrange(-(2**63), 2**63), draw.uniform(-1, 1) * 10.0 ** draw.randrange(-300, 300), draw.random() < 0.5][kind]

    for _ in range(500):
        flow = {"format": 1, **{text(): value(3) for _ in range(4)}}
        assert tomllib.loads(to_toml(flow)) == flow


def test_format_is_put_in_where_it_is_left_out() -> None:
    assert to_toml({"name": "a"}).splitlines()[0] == "format = 1"
    assert to_toml({"name": "a", "format": 2}).splitlines() == ['name = "a"', "format = 2"]


@pytest.mark.parametrize(
    "flow, kind, words",
    [
        ({"corpus": {"text": None}}, TypeError, "corpus.text is None; leave the key out"),
        ({"corpus": {"files": {"x"}}}, TypeError, "corpus.files is of type set"),
        ({"corpus": {"files": [b"x"]}}, TypeError, "corpus.files.0 is of type bytes"),
        ({"models": {1: {}}}, TypeError, "models: a key is 1"),
        ({"name": "\ud83d"}, ValueError, "name holds half of a surrogate pair"),
    ],
)
def test_what_a_file_cannot_hold_is_refused_by_its_key(flow: dict, kind: type, words: str) -> None:
    with pytest.raises(kind, match=words.replace(".", r"\.")):
        to_toml(flow)


def test_numbers_of_numpy() -> None:
    numpy = pytest.importorskip("numpy")
    flow = {"a": numpy.int64(3), "b": numpy.float32(0.5), "c": numpy.bool_(True)}
    assert tomllib.loads(to_toml(flow)) == {"format": 1, "a": 3, "b": 0.5, "c": True}
    with pytest.raises(TypeError, match="a is of type ndarray"):
        to_toml({"a": numpy.ones(2)})


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
