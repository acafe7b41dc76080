"""Figures of a run in the colours of its page: blue is what was found, orange is what chance gives. They need matplotlib.

Each takes the tables of a run (:class:`cognate.Run`, or a :class:`cognate.Tables` of one snapshot) and gives what matplotlib drew on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Optional

import pyarrow.compute as pc

from ._errors import RequestError
from ._tables import Pair, Tables

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: The colours of the page by their names in its style sheet, on light paper.
PALETTE: dict[str, str] = {
    "paper": "#fbfaf7",
    "panel": "#ffffff",
    "ink": "#1d2126",
    "quiet": "#5c6570",
    "line": "#dcd9d0",
    "soft": "#efede6",
    "accent": "#1b5e9e",
    "accent-soft": "#d7e6f5",
    "null": "#b45f06",
    "heat-low": "#f3f1ea",
    "heat-high": "#0b4a86",
}


def correlations(tables: Tables, pair: Pair, *, direction: str = "forward", bins: int = 40, ax: Optional[Axes] = None) -> Axes:
    """How high the best r of each latent is, beside its best r by chance.

    Args:
        tables: of a run with a chance level (``null.documents``).
        pair: source and target, each ``MODEL/HOOKPOINT``.
        direction: whose latents pick: the source's (``"forward"``) or the target's (``"backward"``).
        bins: of equal width over the values.
        ax: where to draw; a figure of its own where it is left out.

    Raises:
        RequestError: no such pair, or no latent has a best partner.
    """
    rows = tables.matches(pair, direction=direction, columns=["correlation", "null_correlation", "rank"])
    rows = rows.filter(pc.equal(rows["rank"], 1))
    found, chance = (_values(rows[name]) for name in ("correlation", "null_correlation"))
    if not found:
        raise RequestError(f"no latent of {pair[0]} x {pair[1]} has a best partner")
    ax = _axes(ax)
    ends = (min(found + chance), max(found + chance))
    ax.hist(found, bins=bins, range=ends, color=PALETTE["accent"], label=f"found, {len(found)} latents")
    if chance:
        ax.hist(chance, bins=bins, range=ends, histtype="step", linewidth=1.6, color=PALETTE["null"], label="chance")
    else:
        ax.plot([], [], color=PALETTE["null"], label="chance is unknown")
    ax.set(xlabel="r with the best partner", ylabel="latents", title=_title(pair, direction))
    ax.legend(frameon=False)
    return _dressed(ax)


def given_token(tables: Tables, pair: Pair, *, ax: Optional[Axes] = None) -> Axes:
    """What is left of each mutual match when only rows of one token are compared: r across, r given the token up.

    Orange is the chance level of r given the token. A match far below the diagonal is mostly its current token.

    Raises:
        RequestError: no such pair, or none of its mutual matches has an r given the token.
    """
    names = ["correlation", "within_correlation", "null_within_correlation"]
    rows = tables.matches(pair, direction="forward", mutual_only=True, columns=names)
    rows = rows.filter(pc.is_valid(rows["within_correlation"]))
    if rows.num_rows == 0:
        raise RequestError(f"no mutual match of {pair[0]} x {pair[1]} has an r given the token (20 given_rows are needed)")
    r, within = (_values(rows[name]) for name in names[:2])
    by_chance = rows.filter(pc.is_valid(rows["null_within_correlation"]))
    ax = _axes(ax)
    ax.plot([0, 1], [0, 1], color=PALETTE["line"], linewidth=1, zorder=0)
    ax.axhline(0, color=PALETTE["line"], linewidth=1, zorder=0)
    across, up = (_values(by_chance[name]) for name in ("correlation", "null_within_correlation"))
    ax.scatter(across, up, s=9, color=PALETTE["null"], alpha=0.5, linewidths=0, label="chance")
    ax.scatter(r, within, s=9, color=PALETTE["accent"], alpha=0.6, linewidths=0, label=f"found, {len(r)} mutual matches")
    ax.set(xlabel="r", ylabel="r given the token", title=_title(pair))
    ax.legend(frameon=False, loc="upper left")
    return _dressed(ax)


def layers(
    tables: Tables, measure: str, *, pairing: str = "mutual", subset: str = "all", models: Optional[Sequence[str]] = None
) -> Figure:
    """A grid of one score, hookpoint by hookpoint, and beside it the same grid of its null, on one scale of colours.

    Args:
        tables: of a run with the measure.
        measure: as in ``similarities``, for example ``"svcca_k20"``.
        pairing: ``"mutual"``, ``"forward"``, ``"backward"`` (decoder rows of kept matches) or ``"activations"``.
        subset: ``"all"``, or the name of a category.
        models: source and target; may be left out where the run compares only two.

    Raises:
        RequestError: the run has no such score.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import LinearSegmentedColormap

    rows = tables.similarities(measure=measure, pairing=pairing, subset=subset).to_pylist()
    known = sorted({(row["source_model"], row["target_model"]) for row in rows})
    if models is None and len(known) > 1:
        raise RequestError(f"the run compares {', '.join(f'{a} with {b}' for a, b in known)}; choose two by models=(source, target)")
    wanted = tuple(models) if models is not None else known[0] if known else None
    rows = [row for row in rows if (row["source_model"], row["target_model"]) == wanted]
    if not rows:
        raise RequestError(f"the run has no {measure} with pairing={pairing!r}, subset={subset!r}" + (f" of {wanted}" if models else ""))
    sources, targets = (_in_order([row[f"{end}_hookpoint"] for row in rows]) for end in ("source", "target"))
    at = {(row["source_hookpoint"], row["target_hookpoint"]): row for row in rows}
    grids = [[[(at.get((s, t)) or {}).get(key) for t in targets] for s in sources] for key in ("value", "null_mean")]
    every = [v for grid in grids for line in grid for v in line if v is not None]
    low, high = (min([0.0, *every]), max([1.0, *every])) if every else (0.0, 1.0)
    colours = LinearSegmentedColormap.from_list("cognate", [PALETTE["heat-low"], PALETTE["heat-high"]])
    size = (2 * (1.6 + 0.62 * len(targets)), 1.3 + 0.5 * len(sources))
    figure, axes = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    for ax, grid, title in zip(axes, grids, (measure, "its null")):
        shades = [[float("nan") if v is None else v for v in line] for line in grid]
        ax.imshow(shades, cmap=colours, vmin=low, vmax=high, aspect="auto")
        for i, line in enumerate(grid):
            for j, v in enumerate(line):
                dark = v is not None and (v - low) > 0.5 * (high - low)
                text = "–" if v is None else f"{v:.2f}"
                ax.text(j, i, text, ha="center", va="center", fontsize=9, color=PALETTE["paper" if dark else "ink"])
        ax.set_title(title, color=PALETTE["accent" if grid is grids[0] else "null"])
        ax.set_xticks(range(len(targets)), targets, rotation=45, ha="right")
        ax.set_yticks(range(len(sources)), sources)
        ax.set_xlabel(f"{wanted[1]}" if wanted else "")
        _dressed(ax, grid=False)
    axes[0].set_ylabel(f"{wanted[0]}" if wanted else "")
    figure.set_facecolor(PALETTE["paper"])
    return figure


def _values(column: Any) -> list[float]:
    """The defined ones."""
    found: list[float] = column.drop_null().to_pylist()
    return found


def _title(pair: Pair, direction: Optional[str] = None) -> str:
    source, target = reversed(pair) if direction == "backward" else pair
    return f"{source} {'→' if direction else '×'} {target}"


def _in_order(names: Sequence[str]) -> list[str]:
    """Hookpoints by kind, then by block."""

    def key(name: str) -> tuple[str, int, str]:
        kind, _, block = name.rpartition(".")
        return (kind, int(block), "") if block.isdigit() else (name, -1, name)

    return sorted(set(names), key=key)


def _axes(ax: Optional[Axes]) -> Axes:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    figure, fresh = plt.subplots(figsize=(6, 3.6), layout="constrained")
    figure.set_facecolor(PALETTE["paper"])
    return fresh


def _dressed(ax: Axes, grid: bool = True) -> Axes:
    """Ink, lines and paper of the page."""
    ax.set_facecolor(PALETTE["panel"])
    for place, spine in ax.spines.items():
        spine.set_visible(grid and place in ("left", "bottom"))
        spine.set_color(PALETTE["line"])
    ax.tick_params(colors=PALETTE["quiet"], length=0 if not grid else 3)
    for text in (ax.xaxis.label, ax.yaxis.label):
        text.set_color(PALETTE["quiet"])
    if grid:
        ax.title.set_color(PALETTE["ink"])
        ax.title.set_fontsize(10.5)
    return ax
