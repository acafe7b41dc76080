"""Where is the program found, what is refused in its place, and what does the error say?"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import cognate
from cognate import _program


def put(folder: Path, says: str = "cognate 0") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cognate"
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return os.fspath(path)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """None of the three places has it."""
    monkeypatch.delenv("COGNATE_BINARY", raising=False)
    monkeypatch.setenv("PATH", os.fspath(tmp_path / "path"))
    monkeypatch.setattr(_program, "_beside", lambda: [tmp_path / "beside"])
    return tmp_path


def test_the_three_places_and_their_order(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(cognate.ProgramNotFound) as error:
        cognate.program()
    for place in ("COGNATE_BINARY", "beside the package", str(nowhere / "beside"), "PATH"):
        assert place in str(error.value)
    on_path = put(nowhere / "path")
    assert cognate.program() == on_path
    beside = put(nowhere / "beside")
    assert cognate.program() == beside
    given = put(nowhere / "given")
    monkeypatch.setenv("COGNATE_BINARY", given)
    assert cognate.program() == given


def test_a_wrong_variable_is_refused_not_passed_over(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(nowhere / "path")
    for wrong in (nowhere / "missing", nowhere / "path"):
        monkeypatch.setenv("COGNATE_BINARY", os.fspath(wrong))
        with pytest.raises(cognate.ProgramNotFound, match="which is no program"):
            cognate.program()


def test_another_program_of_the_name_is_refused(nowhere: Path) -> None:
    put(nowhere / "path", says="From the same Root 1.0.0")
    with pytest.raises(cognate.ProgramNotFound, match="From the same Root"):
        cognate.program()


def test_an_installers_folders_are_looked_at() -> None:
    folders = _program._beside()
    assert Path(sysconfig.get_path("scripts")) in folders and Path(sys.executable).parent in folders


def test_importing_needs_neither_the_program_nor_matplotlib() -> None:
    code = "import sys, cognate; assert not {'matplotlib', 'pandas', 'IPython'} & set(sys.modules)"
    environment = {**os.environ, "PATH": "", "COGNATE_BINARY": "/missing"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
