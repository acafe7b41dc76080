"""What is seen while the program runs: one line with a bar in a notebook or a terminal, plain lines elsewhere."""

from __future__ import annotations

import html
import sys
import time
from typing import Any, Callable, Optional, Protocol

_PLAIN_EVERY_SECONDS = 10.0


class Display(Protocol):
    """Where progress is shown."""

    def show(self, text: str, share: Optional[float]) -> None:
        """Replaces what is shown; ``share`` of the work done, in [0, 1], ``None`` for no bar."""

    def keep(self, text: str) -> None:
        """A line that stays."""

    def close(self, text: str) -> None:
        """The last line."""


def display(wanted: bool) -> Display:
    """The display for where this process runs."""
    if not wanted:
        return _Silent()
    shown = _notebook()
    if shown is not None:
        return shown
    return _Terminal() if sys.stderr.isatty() else _Plain()


def _notebook() -> Optional[Display]:
    """A display of the kernel's, where this is one."""
    if "IPython" not in sys.modules:
        return None
    from IPython import get_ipython  # type: ignore[import-not-found, unused-ignore]

    shell = get_ipython()
    return None if getattr(shell, "kernel", None) is None else _Notebook()


class _Silent:
    def show(self, text: str, share: Optional[float]) -> None: ...

    def keep(self, text: str) -> None: ...

    def close(self, text: str) -> None: ...


class _Plain:
    def __init__(self) -> None:
        self._spoke = time.monotonic()

    def show(self, text: str, share: Optional[float]) -> None:
        if time.monotonic() - self._spoke >= _PLAIN_EVERY_SECONDS:
            self._spoke = time.monotonic()
            self.keep(text if share is None else f"{100 * share:3.0f} %  {text}")

    def keep(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    close = keep


class _Terminal:
    """One line that is written over."""

    def show(self, text: str, share: Optional[float]) -> None:
        bar = "" if share is None else f"{'█' * round(20 * share):░<20} "
        print(f"\r\x1b[2K{bar}{text}", end="", file=sys.stderr, flush=True)

    def keep(self, text: str) -> None:
        print(f"\r\x1b[2K{text}", file=sys.stderr, flush=True)

    close = keep


class _Notebook:
    """One output that is replaced, lines that stay above the bar."""

    def __init__(self) -> None:
        self._kept: list[str] = []
        self._handle: Any = None

    def show(self, text: str, share: Optional[float]) -> None:
        value = "" if share is None else f' value="{share:.3f}"'
        self._put(text, f'<progress max="1"{value} style="width: 20em; vertical-align: middle"></progress> {html.escape(text)}')

    def keep(self, text: str) -> None:
        self._kept.append(text)
        self.show(text, None)

    def close(self, text: str) -> None:
        self._put(text, html.escape(text))

    def _put(self, text: str, line: str) -> None:
        from IPython.display import display as put  # type: ignore[import-not-found, unused-ignore]

        kept = [kept for kept in self._kept if kept != text]
        page = "".join(f"<div>{html.escape(kept)}</div>" for kept in kept) + f"<div>{line}</div>"
        data = {"text/plain": "\n".join([*kept, text]), "text/html": page}
        if self._handle is None:
            self._handle = put(data, raw=True, display_id=True)  # type: ignore[no-untyped-call, unused-ignore]
        else:
            self._handle.update(data, raw=True)


class Narrator:
    """Turns the program's events into lines. It holds what the last ones said."""

    def __init__(self, shown: Display, warn: Callable[[str], None]) -> None:
        self.name: Optional[str] = None
        self.directory_is_complete = False
        self._shown = shown
        self._warn = warn
        self._started = time.monotonic()
        self._counts = ""
        self._tokens = 0
        self._stopping = False

    def tell(self, event: dict[str, Any]) -> None:
        """One event: a line of ``cognate run --json``."""
        kind = event.get("event")
        if kind == "plan":
            plan = event["plan"]
            self.name = self.name or plan["name"]
            self._shown.show(f"{plan['name']}: {len(plan['pairs'])} pairs; starting", 0.0)
        elif kind == "warning":
            self._warn(event["text"])
        elif kind == "note":
            self._shown.keep(event["text"].strip())
        elif kind == "progress":
            self._tokens = event["tokens"]
            left = event.get("seconds_left")
            ahead = "starting" if left is None else "the last scores and tables" if event["share"] >= 1 else _duration(left) + " left"
            text = f"{_thousands(self._tokens)} tokens, {_thousands(event['tokens_per_second'])} tokens/s, {ahead}{self._counts}"
            self._shown.show("stopping, the state is being saved" if self._stopping else text, event["share"])
        elif kind == "snapshot":
            self._counts = (
                f"; {_thousands(event['n_mutual'])} mutual matches (chance {_chance(event['n_mutual_null'])}), "
                f"{_thousands(event['n_kept'])} kept (chance {_chance(event['n_kept_null'])})"
            )
            self._tokens = event["tokens"]
        elif kind == "checkpoint":
            self._tokens = event["tokens"]

    def stopping(self) -> None:
        """The program was asked to stop."""
        self._stopping = True
        self._shown.show("stopping, the state is being saved", None)

    def stopped(self) -> None:
        """It has stopped; its state is saved."""
        self._shown.close(f"stopped after {_thousands(self._tokens)} tokens; the state is saved, the same call resumes")

    def failed(self) -> None:
        """It has ended with an error, which the exception holds."""
        self._shown.close(f"ended with an error after {_thousands(self._tokens)} tokens")

    def done(self) -> None:
        """It has finished."""
        took = _duration(time.monotonic() - self._started)
        self._shown.close(f"done in {took}{': ' + _thousands(self._tokens) + ' tokens' if self._tokens else ''}{self._counts}")


def _thousands(n: float) -> str:
    return f"{round(n):,}".replace(",", " ")


def _chance(n: Optional[int]) -> str:
    return "unknown" if n is None else _thousands(n)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
