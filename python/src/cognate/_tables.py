"""The tables of a run, as Arrow. One method per table of ``docs/tables.md``, which says what each column means; so does the
``description`` in the metadata of each field."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Optional, Union

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ._errors import RequestError, TableNotFound

#: Two hookpoints, each ``MODEL/HOOKPOINT``: source and target, as the run has them.
Pair = tuple[str, str]

Columns = Optional[Sequence[str]]

_ONLY_WITH = {
    "readout": "only runs with compare.readout = true have it",
    "alignment": "only runs with align = \"span\" or a unit have it",
    "maps": "only runs with compare.stitch = true have it",
    "groups": "only runs over three places or more have it",
    "group_sizes": "only runs over three places or more have it",
    "cycles": "only runs over three places or more have it",
}


class Tables:
    """The tables in one folder. They go to Polars, pandas and DuckDB as they are: ``polars.from_arrow(t)``, ``t.to_pandas()``,
    ``duckdb.sql("SELECT … FROM t")``. Undefined is null, never 0 and never NaN."""

    def __init__(self, folder: Union[str, os.PathLike[str]]) -> None:
        self._folder = Path(folder)

    @property
    def folder(self) -> Path:
        """Where the Parquet files are."""
        return self._folder

    def names(self) -> list[str]:
        """The names of the tables that are there."""
        return sorted(path.stem for path in self.folder.glob("*.parquet"))

    def table(self, name: str, *, columns: Columns = None, where: Optional[pc.Expression] = None) -> pa.Table:
        """One table, or some columns of the rows for which ``where`` holds.

        Raises:
            TableNotFound: the run has no such table, or none yet.
            RequestError: it has no such column; the message lists those it has.
        """
        path = self.folder / f"{name}.parquet"
        if not path.exists():
            known = ", ".join(self.names()) or "none: the run has had no snapshot yet"
            only = f" ({_ONLY_WITH[name]})" if name in _ONLY_WITH else ""
            raise TableNotFound(f"{self.folder} has no table {name!r}{only}; tables there: {known}")
        if columns is not None:
            known_columns = pq.read_schema(path).names
            unknown = [column for column in columns if column not in known_columns]
            if unknown:
                raise RequestError(f"{name} has no column {', '.join(unknown)}; it has {', '.join(known_columns)}")
        return pq.read_table(path, columns=None if columns is None else list(columns), filters=where)

    def metadata(self, name: str = "pairs") -> dict[str, str]:
        """What a table's file says of its run: ``cognate.tokens``, ``cognate.fingerprint`` and others."""
        found = self.table(name, columns=[]).schema.metadata or {}
        return {key.decode(): value.decode() for key, value in found.items() if key.startswith(b"cognate.")}

    def latents(self, site: Optional[str] = None, *, alive_only: bool = False, columns: Columns = None) -> pa.Table:
        """One row per latent: how often it fires, its strongest tokens, its labels. ``site`` is ``MODEL/HOOKPOINT``."""
        wanted = [] if site is None else [self._site_is(site)]
        if alive_only:
            wanted.append(pc.field("alive"))
        return self.table("latents", columns=columns, where=_all(wanted))

    def matches(
        self,
        pair: Optional[Pair] = None,
        *,
        direction: Optional[str] = None,
        kept_only: bool = False,
        mutual_only: bool = False,
        columns: Columns = None,
    ) -> pa.Table:
        """The best partners of each latent with their r, its chance point, and what is left of it given the token.

        A mutual match stands in the table twice, once for each direction: ``direction="forward"`` gives each once.
        """
        wanted = self._of(pair)
        if direction is not None:
            if direction not in ("forward", "backward"):
                raise RequestError(f"direction is {direction!r}; expected 'forward' or 'backward'")
            wanted.append(pc.field("direction") == direction)
        if kept_only:
            wanted.append(pc.field("kept"))
        if mutual_only:
            wanted.append(pc.field("mutual"))
        return self.table("matches", columns=columns, where=_all(wanted))

    def pairs(self, pair: Optional[Pair] = None, *, columns: Columns = None) -> pa.Table:
        """One row per pair of hookpoints: counts of matches, each beside the same count by chance."""
        return self.table("pairs", columns=columns, where=_all(self._of(pair)))

    def alignment(self, *, columns: Columns = None) -> pa.Table:
        """One row per model: what a row is, and how its tokens share the rows, where rows are pieces of text."""
        return self.table("alignment", columns=columns)

    def similarities(
        self,
        pair: Optional[Pair] = None,
        *,
        measure: Optional[str] = None,
        pairing: Optional[str] = None,
        subset: Optional[str] = None,
        columns: Columns = None,
    ) -> pa.Table:
        """One row per score, beside its null. ``subset`` is ``"all"`` or a category; ``pairing`` says whose rows were scored."""
        wanted = self._of(pair)
        for key, value in (("measure", measure), ("pairing", pairing), ("subset", subset)):
            if value is not None:
                known = pc.unique(self.table("similarities", columns=[key])[key]).to_pylist()
                if value not in known:
                    raise RequestError(f"similarities has no {key} {value!r}; it has {', '.join(known) or 'none'}")
                wanted.append(pc.field(key) == value)
        return self.table("similarities", columns=columns, where=_all(wanted))

    def history(self, pair: Optional[Pair] = None, *, columns: Columns = None) -> pa.Table:
        """One row per snapshot and pair: how counts, churn and scores moved."""
        return self.table("history", columns=columns, where=_all(self._of(pair)))

    def readout(self, pair: Optional[Pair] = None, *, columns: Columns = None) -> pa.Table:
        """One row per pair, direction and latent: how well the other side's activations predict it."""
        return self.table("readout", columns=columns, where=_all(self._of(pair)))

    def maps(self, pair: Optional[Pair] = None, *, columns: Columns = None) -> pa.Table:
        """One row per pair, direction and kind of map between the activations: its R², beside its chance."""
        return self.table("maps", columns=columns, where=_all(self._of(pair)))

    def best_over(self, *, columns: Columns = None) -> pa.Table:
        """One row per latent and model that it is compared with: its best partner over all places of that model."""
        return self.table("best_over", columns=columns)

    def best_over_counts(self, *, columns: Columns = None) -> pa.Table:
        """One row per two models: how many latents have a best partner over all places, and how many by chance."""
        return self.table("best_over_counts", columns=columns)

    def best_over_scores(self, *, columns: Columns = None) -> pa.Table:
        """One row per two models, subset, pairing and measure: the two closest places and their score, beside its null."""
        return self.table("best_over_scores", columns=columns)

    def groups(self, *, columns: Columns = None) -> pa.Table:
        """One row per member of a group: latents of three places or more that are one feature as far as matches tell."""
        return self.table("groups", columns=columns)

    def group_sizes(self, *, columns: Columns = None) -> pa.Table:
        """How many groups there are of each size, beside the same by chance."""
        return self.table("group_sizes", columns=columns)

    def cycles(self, *, columns: Columns = None) -> pa.Table:
        """How many latents come back to themselves over three places, beside the same by chance."""
        return self.table("cycles", columns=columns)

    def pair_names(self) -> list[Pair]:
        """The pairs of the run."""
        rows = self.table("pairs", columns=["source_model", "source_hookpoint", "target_model", "target_hookpoint"])
        return [(f"{a}/{b}", f"{c}/{d}") for a, b, c, d in zip(*(column.to_pylist() for column in rows.columns))]

    def _of(self, pair: Optional[Pair]) -> list[pc.Expression]:
        """The rows of a pair."""
        if pair is None:
            return []
        known = self.pair_names()
        if isinstance(pair, str) or tuple(pair) not in known:
            shown = ", ".join(map(repr, known[:8])) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
            raise RequestError(f"the run has no pair {pair!r}; it has {shown}")
        ends = [(end, *name.split("/", 1)) for end, name in zip(("source", "target"), pair)]
        return [(pc.field(f"{end}_model") == m) & (pc.field(f"{end}_hookpoint") == h) for end, m, h in ends]

    def _site_is(self, site: str) -> pc.Expression:
        found = self.table("latents", columns=["model", "hookpoint"]).group_by(["model", "hookpoint"]).aggregate([])
        known = sorted(f"{row['model']}/{row['hookpoint']}" for row in found.to_pylist())
        if site not in known:
            raise RequestError(f"the run has no latents of {site!r}; it has those of {', '.join(known)}")
        model, hookpoint = site.split("/", 1)
        return (pc.field("model") == model) & (pc.field("hookpoint") == hookpoint)


def _all(wanted: list[pc.Expression]) -> Any:
    """All of them at once; ``None`` for no wish."""
    together = None
    for one in wanted:
        together = one if together is None else together & one
    return together
