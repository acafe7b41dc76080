"""How is a run started, watched, stopped and resumed? The program does all of it; this module speaks with it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Optional, Union

from ._errors import CognateWarning, of_exit
from ._progress import Narrator, display
from ._program import program, told
from ._run import Run
from ._toml import to_toml

Flow = Union[Mapping[str, Any], str, "os.PathLike[str]"]


def run(
    flow: Flow,
    out: Union[str, os.PathLike[str], None] = None,
    *,
    max_tokens: Union[int, str, None] = None,
    workers: Optional[int] = None,
    memory_limit: Optional[str] = None,
    in_flight: Optional[int] = None,
    fresh: bool = False,
    progress: bool = True,
) -> Run:
    """Runs a dataflow, or resumes where an earlier call stopped, and waits for its end.

    An interrupt (the notebook's stop button, Ctrl-C) asks the program to stop, waits until its state is saved, and then raises
    ``KeyboardInterrupt``. The same call resumes. A second interrupt ends the program at once; its last checkpoint stays.

    Args:
        flow: the path of a dataflow file, or its keys as a dict (``dataflows/README.md`` lists them). Paths in a dict are relative
            to the working directory.
        out: the run directory; ``runs/NAME`` where it is left out.
        max_tokens: stop after the batch that reaches this many tokens (``50_000``, ``"50k"``); a later call may go further.
        workers: workers of the dataflow; matrix products use all cores anyway.
        memory_limit: refuse a plan over this much memory, for example ``"16GiB"``; what the machine has free where it is left out.
        in_flight: batches that may be unfinished at once.
        fresh: delete the run in ``out`` and start again.
        progress: whether to show progress: a bar in a notebook or a terminal, plain lines elsewhere.

    Raises:
        RequestError, DataError, StateError, MachineError, CheckFailed: what the program says, with its exit code.
        Interrupted: somebody else stopped it.
        ProgramNotFound: there is no program.
    """
    arguments = ["run", *_named(flow), "--json"]
    options = {"--out": out, "--max-tokens": max_tokens, "--workers": workers, "--memory-limit": memory_limit, "--in-flight": in_flight}
    for flag, value in options.items():
        if value is not None:
            arguments += [flag, os.fspath(value) if isinstance(value, os.PathLike) else str(value)]
    if fresh:
        arguments.append("--fresh")

    def warn(text: str) -> None:
        warnings.warn(text, CognateWarning, stacklevel=6)  # at the caller of `run`

    narrator = Narrator(display(progress), warn)
    _follow(arguments, _text(flow), narrator)
    narrator.done()
    directory = out if out is not None else Path("runs") / (narrator.name or "")
    return Run(directory)


def plan(flow: Flow, *, memory_limit: Optional[str] = None, measure: bool = False) -> dict[str, Any]:
    """What a dataflow would do: steps, shapes, bytes of memory and of disk. Opens headers only.

    Args:
        flow: as for :func:`run`.
        memory_limit: refuse a plan over this much memory.
        measure: also load the weights, run one batch and estimate the time (seconds) of the whole.

    Raises:
        CognateError: as :func:`run`.
    """
    arguments = ["plan", *_named(flow), "--json"]
    if memory_limit is not None:
        arguments += ["--memory-limit", memory_limit]
    if measure:
        arguments.append("--measure")
    found: dict[str, Any] = json.loads(told(*arguments, given=_text(flow)))
    return found


def _named(flow: Flow) -> list[str]:
    """What the program is given as its dataflow file."""
    if isinstance(flow, Mapping):
        return ["-"]
    path = os.fspath(flow)
    return [os.path.join(".", path) if path.startswith("-") else path]


def _text(flow: Flow) -> str:
    """What is written to its standard input."""
    return to_toml(flow) if isinstance(flow, Mapping) else ""


def _started(arguments: list[str]) -> subprocess.Popen[str]:
    """The program, with pipes to all its ends."""
    return subprocess.Popen(
        [program(), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        # an interrupt of a notebook or a terminal goes to the whole group of processes: this one passes it on, once
        start_new_session=True,
    )


def _follow(arguments: list[str], text: str, narrator: Narrator) -> None:
    """Starts the program with ``text`` on its standard input and passes its lines to the narrator, until it ends.

    Raises:
        CognateError: it did not end well.
        KeyboardInterrupt: after its state was saved.
    """
    held = _HeldInterrupt()
    try:
        process = _started(arguments)
    except BaseException:
        held.let_go()
        raise
    said: list[str] = []
    listener = threading.Thread(target=_gather, args=(process.stderr, said), daemon=True)
    try:
        try:
            held.let_go()
            held.raise_if_it_came()
            listener.start()
            _give(process, text)
            _tell_all(process, narrator)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            narrator.stopping()
            _tell_all(process, narrator)
            if process.returncode in (0, 130, -signal.SIGINT):  # the last: before it listened to signals
                narrator.stopped()
                raise
    except KeyboardInterrupt:
        if process.poll() is None:  # asked a second time
            process.send_signal(signal.SIGINT)
        raise
    except BaseException:
        process.terminate()  # saves the state, as an interrupt does
        raise
    finally:
        process.wait()
        if listener.ident is not None:
            listener.join(timeout=10)
        for pipe in (process.stdin, process.stdout, process.stderr):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    if process.returncode != 0:
        narrator.failed()
        raise of_exit(process.returncode, "".join(said))


class _HeldInterrupt:
    """Holds an interrupt back from its making until it is let go, so that none comes between a start of the program and its keeping."""

    def __init__(self) -> None:
        self._came = False
        before = signal.getsignal(signal.SIGINT)
        # other threads get none, and a handler that is not Python's cannot be put back
        self._before = before if threading.current_thread() is threading.main_thread() and callable(before) else None
        if self._before is not None:
            signal.signal(signal.SIGINT, self._note)

    def _note(self, *_: object) -> None:
        self._came = True

    def let_go(self) -> None:
        """Interrupts come again."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def raise_if_it_came(self) -> None:
        """Now, then."""
        if self._came:
            raise KeyboardInterrupt


def _give(process: subprocess.Popen[str], text: str) -> None:
    """Writes all that the program gets to read."""
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended before it read: its message has the reason
        process.stdin.write(text)
        process.stdin.close()


def _tell_all(process: subprocess.Popen[str], narrator: Narrator) -> None:
    """Passes on the program's lines until it is silent, and waits for its end."""
    assert process.stdout is not None
    for line in process.stdout:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # the rest of a line whose reading was interrupted
        narrator.tell(event)
    process.wait()


def _gather(lines: IO[str], into: list[str]) -> None:
    """Keeps the last lines, on a thread of its own: a full pipe would stop the program."""
    for line in lines:
        into.append(line)
        del into[:-200]
