"""Where is the program, and what does it say? It is the one of ``COGNATE_BINARY`` if that is set, else the one beside the package, else
that on ``PATH``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path

from ._errors import ProgramNotFound, of_exit

_NAME = "cognate.exe" if os.name == "nt" else "cognate"


def program() -> str:
    """The path of the program ``cognate``.

    Raises:
        ProgramNotFound: it is in none of the three places, or what is there is another program.
    """
    given = os.environ.get("COGNATE_BINARY")
    if given:
        if not os.access(given, os.X_OK) or os.path.isdir(given):
            raise ProgramNotFound(f"COGNATE_BINARY is {given!r}, which is no program; correct it or unset it")
        return _checked(os.path.abspath(given))
    for folder in _beside():
        if os.access(folder / _NAME, os.X_OK):
            return _checked(str(folder / _NAME))
    found = shutil.which("cognate")
    if found:
        return _checked(found)
    places = ", ".join(str(folder) for folder in _beside())
    raise ProgramNotFound(
        f"the program `cognate` was not found: COGNATE_BINARY is not set, it is not beside the package ({places}) and not on PATH; "
        "install the wheel, or set COGNATE_BINARY to the program's path"
    )


def told(*arguments: str, given: str = "") -> str:
    """What the program prints when it is called with these arguments, and ``given`` on its standard input.

    Raises:
        CognateError: it did not end well.
    """
    process = subprocess.run([program(), *arguments], input=given, capture_output=True, text=True, encoding="utf-8", errors="replace")
    if process.returncode != 0:
        raise of_exit(process.returncode, process.stderr)
    return process.stdout


def _beside() -> list[Path]:
    """Where an installer puts the programs of a wheel: the environment's folder, the user's, that of ``pip install --target``."""
    folders = [sysconfig.get_path("scripts")]
    user = "nt_user" if os.name == "nt" else "posix_user"
    if user in sysconfig.get_scheme_names():
        folders.append(sysconfig.get_path("scripts", user))
    paths = [Path(folder) for folder in folders if folder]
    return list(dict.fromkeys([*paths, Path(sys.executable).parent, Path(__file__).resolve().parents[1] / "bin"]))


@lru_cache(maxsize=None)
def _checked(path: str) -> str:
    """The path, if it leads to this program: another package may have one of the same name."""
    try:
        told = subprocess.run([path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
        said = told.stdout.strip() or told.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as fault:
        said = str(fault)
    if not said.startswith("cognate "):
        raise ProgramNotFound(
            f"{path} is not this package's program: --version says {said[:80]!r}, expected cognate and a version; "
            "set COGNATE_BINARY to the program's path"
        )
    return path
