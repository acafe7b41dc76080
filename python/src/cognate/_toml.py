"""From a dict to a dataflow file. Every value is written as it is or refused by its key; nothing is left out."""

from __future__ import annotations

import json
import numbers
import operator
import os
import re
from collections.abc import Mapping
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+\Z")


def to_toml(flow: Mapping[str, Any]) -> str:
    """The text of a dataflow file with the keys of ``flow``: texts, numbers, booleans, paths, lists and dicts of these.

    ``format = 1`` is put in where it is left out.

    Raises:
        TypeError: a key or a value that a dataflow file cannot hold; the message names the key.
        ValueError: a text with half of a surrogate pair.
    """
    lines: list[str] = []
    _table(lines, (), {"format": 1, **flow} if "format" not in flow else flow)
    return "\n".join(lines) + "\n"


def _table(lines: list[str], path: tuple[str, ...], table: Mapping[str, Any]) -> None:
    """Plain values first, then tables, as TOML wants it."""
    for key in table:
        if not isinstance(key, str):
            raise TypeError(f"{_dotted(path) or 'the dataflow'}: a key is {key!r}, expected a text")
    plain = [(key, value) for key, value in table.items() if not isinstance(value, Mapping)]
    tables = [(key, value) for key, value in table.items() if isinstance(value, Mapping)]
    if path and (plain or not tables):
        lines.append("[" + ".".join(_key(key) for key in path) + "]")
    for key, value in plain:
        lines.append(f"{_key(key)} = {_value((*path, key), value)}")
    for key, value in tables:
        _table(lines, (*path, key), value)


def _value(path: tuple[str, ...], value: Any) -> str:
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        value = value.item()  # one number of an array
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        return _text(path, value)
    if isinstance(value, numbers.Integral):
        return str(operator.index(value))
    if isinstance(value, numbers.Real):
        return repr(float(value))
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value((*path, str(i)), inner) for i, inner in enumerate(value)) + "]"
    if isinstance(value, Mapping):
        inner = (f"{_key(key)} = {_value((*path, key), value[key])}" for key in value)
        return "{ " + ", ".join(inner) + " }" if value else "{}"
    if value is None:
        raise TypeError(f"{_dotted(path)} is None; leave the key out for its default")
    raise TypeError(
        f"{_dotted(path)} is of type {type(value).__name__}; expected a text, a number, a boolean, a list or a dict"
    )


def _text(path: tuple[str, ...], text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{_dotted(path)} holds half of a surrogate pair: {text!r}") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if _BARE.match(key) else _text((key,), key)


def _dotted(path: tuple[str, ...]) -> str:
    """The key for messages."""
    return ".".join(key if _BARE.match(key) else json.dumps(key) for key in path)
