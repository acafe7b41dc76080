"""Do figures draw what the tables hold, in the page's colours?"""

from __future__ import annotations

import re

import pytest

import cognate

from conftest import PROJECT

matplotlib = pytest.importorskip("matplotlib", reason="the extra `figures`")
matplotlib.use("Agg")

from cognate import figures  # noqa: E402

PAIR = ("small-a/resid_post.2", "small-b/resid_post.3")


def test_colours_are_the_pages() -> None:
    css = (PROJECT / "src/report/page/page.css").read_text()
    light = css[css.index(":root {") : css.index("}")]
    page = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", light))
    assert figures.PALETTE == {name: page[name] for name in figures.PALETTE}


def test_correlations_count_every_latent_beside_chance(run: cognate.Run) -> None:
    rows = [row for row in run.matches(PAIR, direction="forward").to_pylist() if row["rank"] == 1]
    ax = figures.correlations(run, PAIR, bins=10)
    (bars,) = ax.containers[:1]
    assert sum(bar.get_height() for bar in bars) == sum(row["correlation"] is not None for row in rows)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[1] == "chance" and labels[0].startswith("found, ")
    assert bars[0].get_facecolor() == matplotlib.colors.to_rgba(figures.PALETTE["accent"])
    assert ax.get_title() == "small-a/resid_post.2 → small-b/resid_post.3"
    assert figures.correlations(run, PAIR, direction="backward").get_title() == "small-b/resid_post.3 → small-a/resid_post.2"


def test_given_token_draws_every_mutual_match_that_has_one(run: cognate.Run) -> None:
    rows = run.matches(PAIR, direction="forward", mutual_only=True).to_pylist()
    expected = sorted((r["correlation"], r["within_correlation"]) for r in rows if r["within_correlation"] is not None)
    ax = figures.given_token(run, PAIR)
    chance, found = ax.collections
    assert sorted(map(tuple, found.get_offsets().tolist())) == expected
    nulls = [r for r in rows if r["within_correlation"] is not None and r["null_within_correlation"] is not None]
    assert len(chance.get_offsets()) == len(nulls)


def test_layers_shows_values_and_nulls_on_one_scale(run: cognate.Run) -> None:
    figure = figures.layers(run, "svcca_k10")
    rows = {row["source_hookpoint"]: row for row in run.similarities(measure="svcca_k10").to_pylist()}
    for ax, key in zip(figure.axes, ("value", "null_mean")):
        assert [text.get_text() for text in ax.texts] == [f"{rows[f'resid_post.{k}'][key]:.2f}" for k in (1, 2)]
    assert figure.axes[0].images[0].get_clim() == figure.axes[1].images[0].get_clim()
    with pytest.raises(cognate.RequestError, match="no pairing 'forward'; it has .*mutual"):
        figures.layers(run, "svcca_k10", pairing="forward")


def test_hookpoints_stand_in_the_order_of_blocks() -> None:
    names = ["resid_post.10", "resid_post.2", "embed", "mlp_out.3"]
    assert figures._in_order(names) == ["embed", "mlp_out.3", "resid_post.2", "resid_post.10"]
