"""What is in a run directory, during the run or after it?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Optional, Union

import pyarrow as pa

from ._errors import TableNotFound
from ._program import told
from ._tables import Columns, Tables


class LatentCard:
    """One latent of a run: statistics, strongest tokens in context, partners. ``data`` holds them, ``text`` is the same for reading."""

    def __init__(self, text: str, data: dict[str, Any]) -> None:
        self.text = text
        self.data = data

    def __repr__(self) -> str:
        return self.text.rstrip("\n")


class Run(Tables):
    """A run directory. Its tables are those of the newest snapshot: during the run, two calls may see two snapshots;
    :meth:`snapshot` holds on to one."""

    def __init__(self, path: Union[str, os.PathLike[str]]) -> None:
        self.path = Path(path)
        super().__init__(self.path / "tables")

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def snapshot(self) -> Tables:
        """The tables of the newest snapshot, all of one moment. Their folder stays until the next snapshot but one, or the end of the run."""
        return Tables(self.folder.resolve())

    def controls(self, *, columns: Columns = None) -> pa.Table:
        """The run beside its controls, one row per pair and run; only where the dataflow has ``[controls]``.

        Raises:
            TableNotFound: it has none, or they are not at their end.
        """
        folder = Tables(self.path / "controls")
        if not (folder.folder / "controls.parquet").exists():
            raise TableNotFound(f"{self.path} has no table of controls: it comes at the end of a run with [controls]")
        return folder.table("controls", columns=columns)

    def control(self, name: str) -> Run:
        """The run of the control ``[controls.NAME]``."""
        return Run(self.path / "controls" / name)

    def status(self) -> dict[str, Any]:
        """State (``running``, ``finished``, ``stopped``, ``merge``, ``scores``), last checkpoint, bytes on disk, newest counts and scores.

        Raises:
            CognateError: there is no run, or its files are damaged.
        """
        found: dict[str, Any] = json.loads(told("status", str(self.path), "--json"))
        return found

    @property
    def summary(self) -> Optional[dict[str, Any]]:
        """The newest snapshot in figures: tokens, and for each pair counts beside chance, scores beside nulls, best matches. ``None`` before the first."""
        newest: Optional[dict[str, Any]] = self.status()["newest"]
        return newest

    def show(self, latent: str) -> LatentCard:
        """One latent, ``MODEL/HOOKPOINT/LATENT``: statistics, strongest tokens in context, partners both ways.

        Raises:
            RequestError: the run has no such latent.
        """
        data = json.loads(told("show", str(self.path), latent, "--json"))
        return LatentCard(told("show", str(self.path), latent), data)

    def report(self, out: Union[str, os.PathLike[str], None] = None) -> Path:
        """Writes the page of the run, ``report.html`` in its directory where ``out`` is left out, and gives its path."""
        page = Path(out) if out is not None else self.path / "report.html"
        told("report", str(self.path), "--out", str(page))
        return page
