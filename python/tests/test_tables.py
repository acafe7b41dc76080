"""Are the tables what the files hold, by others' readers? Does the document list them all?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import cognate

from conftest import PROJECT

PAIR = ("small-a/resid_post.2", "small-b/resid_post.3")


def test_there_is_a_method_for_every_table_of_the_document() -> None:
    document = (PROJECT / "docs" / "tables.md").read_text()
    columns = document[document.index("## Columns") :]
    named = re.findall(r"^\*\*`(?:controls/)?(\w+?)(?:\.parquet)?`\*\*", columns, re.M)
    assert len(named) >= 9, named
    missing = [name for name in named if not callable(getattr(cognate.Run, name, None))]
    assert not missing, f"docs/tables.md describes {missing}; cognate.Run has no method for them"


def test_every_table_is_the_file(run: cognate.Run) -> None:
    duckdb = pytest.importorskip("duckdb")
    names = run.names()
    assert {"latents", "matches", "pairs", "similarities", "history"} <= set(names)
    for name in names:
        found = getattr(run, name)()
        assert isinstance(found, pa.Table) and found.num_rows > 0 or name == "cycles", name
        by_duckdb = duckdb.sql(f"SELECT * FROM '{run.folder}/{name}.parquet'").fetchall()
        assert [tuple(row.values()) for row in found.to_pylist()] == by_duckdb, name
        assert found.schema.field(0).metadata[b"description"]


def test_filters_are_those_of_sql(run: cognate.Run) -> None:
    duckdb = pytest.importorskip("duckdb")
    matches = f"FROM '{run.folder}/matches.parquet' WHERE source_hookpoint = 'resid_post.2'"
    for arguments, condition in [
        ({}, ""),
        ({"direction": "forward"}, " AND direction = 'forward'"),
        ({"kept_only": True}, " AND kept"),
        ({"direction": "backward", "kept_only": True, "mutual_only": True}, " AND direction = 'backward' AND kept AND mutual"),
    ]:
        found = run.matches(PAIR, **arguments).to_pylist()
        expected = duckdb.sql(f"SELECT * {matches}{condition}").fetchall()
        assert 0 < len(found) and [tuple(row.values()) for row in found] == expected, condition
    alive = run.latents(PAIR[0], alive_only=True, columns=["latent"])
    sql = f"SELECT count(*) FROM '{run.folder}/latents.parquet' WHERE model || '/' || hookpoint = '{PAIR[0]}' AND alive"
    assert duckdb.sql(sql).fetchall() == [(alive.num_rows,)] and alive.column_names == ["latent"]
    assert run.similarities(PAIR, measure="svcca_k10").num_rows == 1
    assert run.pairs(PAIR).num_rows == 1 and run.history(PAIR).num_rows == 4


def test_polars_and_pandas_take_them(run: cognate.Run) -> None:
    polars, pandas = pytest.importorskip("polars"), pytest.importorskip("pandas")
    matches = run.matches()
    frame = polars.from_arrow(matches)
    assert frame.shape == (matches.num_rows, matches.num_columns)
    # without a copy: the numbers lie where Arrow has them
    column = matches["source_latent"].combine_chunks()
    assert frame["source_latent"].to_arrow().buffers()[1].address in {column.buffers()[1].address} | {
        chunk.buffers()[1].address for chunk in matches["source_latent"].chunks
    }
    path = run.folder / "matches.parquet"
    pandas.testing.assert_frame_equal(matches.to_pandas(), pandas.read_parquet(path))


def test_what_is_not_there_is_named(run: cognate.Run, tmp_path: Path) -> None:
    with pytest.raises(cognate.TableNotFound, match="compare.readout = true") as error:
        run.readout()
    assert isinstance(error.value, KeyError) and "matches" in str(error.value)
    with pytest.raises(cognate.TableNotFound, match=r"\[controls\]"):
        run.controls()
    with pytest.raises(cognate.TableNotFound, match="no snapshot yet"):
        cognate.Run(tmp_path).pairs()
    for call, words in [
        (lambda: run.matches(PAIR[::-1]), "it has .'small-a/resid_post.1', 'small-b/resid_post.3'"),
        (lambda: run.matches(PAIR[0]), "the run has no pair"),
        (lambda: run.matches(direction="up"), "'forward' or 'backward'"),
        (lambda: run.latents("small-a/resid_post.9"), "it has those of small-a/resid_post.1, small-a/resid_post.2"),
        (lambda: run.pairs(columns=["n_mutuals"]), "no column n_mutuals; it has .*n_mutual,"),
        (lambda: run.similarities(measure="cka"), "it has svcca_k10"),
    ]:
        with pytest.raises(cognate.RequestError, match=words):
            call()


def test_a_snapshot_stays_when_the_next_one_comes(flow: dict[str, Any], tmp_path: Path) -> None:
    first = cognate.run(flow, out=tmp_path / "run", max_tokens=3_000, progress=False)
    held = first.snapshot()
    tokens = held.metadata()["cognate.tokens"]
    (tmp_path / "copy").symlink_to(held.folder)
    (tmp_path / "other").mkdir()
    # what a run does when it publishes: the link is renamed
    (tmp_path / "link").symlink_to(tmp_path / "other")
    (tmp_path / "link").rename(first.folder)
    assert held.metadata()["cognate.tokens"] == tokens and held.pairs().num_rows == 2
    with pytest.raises(cognate.TableNotFound):
        first.pairs()


def test_status_summary_show_and_report(run: cognate.Run, tmp_path: Path) -> None:
    assert run.status()["state"] == "finished"
    summary = run.summary
    assert summary is not None and summary["tokens"] == int(run.metadata()["cognate.tokens"])
    counts = {(p["source"], p["target"]): p["n_mutual"] for p in summary["pairs"]}
    assert counts[PAIR] == run.pairs(PAIR)["n_mutual"][0].as_py()
    best = next(p for p in summary["pairs"] if (p["source"], p["target"]) == PAIR)["best"][0]["source_latent"]
    card = run.show(f"{PAIR[0]}/{best}")
    assert repr(card) == card.text.rstrip("\n") and f"{PAIR[0]}/{best}" in card.text and card.data
    with pytest.raises(cognate.RequestError, match="MODEL/HOOKPOINT/LATENT"):
        run.show("129")
    assert run.report(tmp_path / "page.html").read_text().startswith("<!doctype html>")
    with pytest.raises(cognate.RequestError, match="holds no run"):
        cognate.Run(tmp_path).status()
