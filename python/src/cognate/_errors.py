"""What can go wrong, by the program's exit code. The text is the program's own."""

from __future__ import annotations

from typing import Optional


class CognateError(Exception):
    """Something that the program refused, or that stopped it.

    ``message`` is its message without ``error: ``; ``code`` its exit code, ``None`` where it was not started.
    """

    def __init__(self, message: str, code: Optional[int] = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def __reduce__(self) -> tuple[type[CognateError], tuple[str, Optional[int]]]:
        return type(self), (self.message, self.code)


class CheckFailed(CognateError):
    """Exit code 1: an SAE does not fit its hookpoint."""


class RequestError(CognateError):
    """Exit code 2: the request is wrong: flags, keys, names."""


class DataError(CognateError):
    """Exit code 3: input data is wrong."""


class StateError(CognateError):
    """Exit code 4: the run directory is damaged, or belongs to another run."""


class MachineError(CognateError):
    """Exit code 5, or a signal: memory, disk, a lost process."""


class Interrupted(CognateError):
    """Exit code 130: somebody else stopped the program; the state is saved, the same call resumes."""


class ProgramNotFound(CognateError):
    """The program ``cognate`` is not where it is looked for."""


class TableNotFound(CognateError, KeyError):
    """The run has no such table, or none yet."""

    def __str__(self) -> str:
        return self.message


class CognateWarning(UserWarning):
    """Messages of the program that should not be missed."""


_BY_CODE: dict[int, type[CognateError]] = {
    1: CheckFailed,
    2: RequestError,
    3: DataError,
    4: StateError,
    5: MachineError,
    130: Interrupted,
}


def of_exit(code: int, said: str) -> CognateError:
    """The error of a program that ended with ``code`` (below 0: killed by that signal) and ``said`` that on standard error."""
    # the error comes last, and may have several lines
    message = ("\n" + said).rpartition("\nerror: ")[2].strip()
    if code < 0:
        what = f"cognate was killed by signal {-code}; the same call resumes from the last checkpoint"
        return MachineError(f"{what}: {message}" if message else what, code)
    return _BY_CODE.get(code, CognateError)(message or f"cognate ended with exit code {code}", code)
