"""One short run of the demo for every test that reads one. The program is that of COGNATE_BINARY, or the installed one."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import pytest

import cognate

PROJECT = Path(__file__).resolve().parents[2]
DEMO = PROJECT / "data" / "demo"

FLOW: dict[str, Any] = {
    "name": "small",
    "seed": 7,
    "corpus": {"files": [DEMO / "corpus.jsonl"], "context_length": 64, "batch_contexts": 8, "max_tokens": 12_000},
    "models": {"small-a": {"path": DEMO / "models/small-a"}, "small-b": {"path": DEMO / "models/small-b"}},
    "saes": {
        "small-a/resid_post.1": {"path": DEMO / "saes/small-a/layers.1"},
        "small-a/resid_post.2": {"path": DEMO / "saes/small-a/layers.2"},
        "small-b/resid_post.3": {"path": DEMO / "saes/small-b/layers.3"},
    },
    "compare": {"pairs": "all"},
    "estimate": {
        "snapshot_every": 3_000,
        "filters": {"min_correlation": 0.1, "min_active": 3, "one_to_one": True},
        "measures": ["svcca_k10"],
        "pairings": ["mutual"],
        "null": {"permutations": 20},
    },
    "checkpoint": {"every": 1_000},
}


@pytest.fixture
def flow() -> dict[str, Any]:
    """The dataflow of the tests, to be changed at will."""
    return copy.deepcopy(FLOW)


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> cognate.Run:
    """It, at its end."""
    return cognate.run(FLOW, out=tmp_path_factory.mktemp("runs") / "small", progress=False)


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a script in the place of the program: gives a function that takes its text, behind the answer to ``--version``."""

    def put(script: str) -> Path:
        path = tmp_path / "cognate"
        path.write_text('#!/bin/sh\n[ "$1" = --version ] && { echo cognate 0; exit; }\n' + script)
        path.chmod(0o755)
        monkeypatch.setenv("COGNATE_BINARY", os.fspath(path))
        return path

    return put
