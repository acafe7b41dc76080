"""Do feeds in Python give what a run computes itself, and does a run resume when they are killed?"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

import cognate
from conftest import PROJECT

np = pytest.importorskip("numpy")

PACKAGE = PROJECT / "python" / "src"
TOKENIZER = PROJECT / "data/demo/models/small-a"

# activations that need no model: a row of random numbers for each token, turned by its position
BY_NUMPY = f"""
import sys
sys.path.insert(0, {str(PACKAGE)!r})
import numpy as np
import cognate

table = np.random.default_rng(1).standard_normal((4096, 16), dtype=np.float32)

def activations(ids):
    return table[ids] * np.cos(np.arange(len(ids), dtype=np.float32) / 7)[:, None]
"""


def feed_of(text: str, path: Path) -> list[str]:
    """A feed as a script, and the command that starts it."""
    path.write_text(BY_NUMPY + textwrap.dedent(text))
    return [sys.executable, str(path)]


def fed_flow(flow: dict[str, Any], feed: dict[str, Any], **more: Any) -> dict[str, Any]:
    """small-b beside a fed model of 16 dimensions, as they are."""
    flow["models"] = {"fed": {"feed": feed, "tokenizer": TOKENIZER, "d_model": 16, **more}, "small-b": flow["models"]["small-b"]}
    flow["saes"] = {}
    flow["compare"] = {"pairs": [["fed/resid_post.0", "small-b/resid_post.3"]]}
    flow["estimate"] = {"snapshot_every": 3_000, "filters": {"min_correlation": 0.05, "min_active": 3}}
    return flow


def same_tables(a: cognate.Run, b: cognate.Run) -> None:
    for path in sorted((a.path / "tables").glob("*.parquet")):
        assert path.read_bytes() == (b.path / "tables" / path.name).read_bytes(), path.name


PLAIN = """
feed = cognate.Feed(states="table 1")
print("not to where answers go")
for batch in feed:
    batch.answer({"resid_post.0": [activations(ids) for ids in batch.contexts]})
"""


def test_a_run_of_a_feed_that_dies_and_of_one_that_does_not_are_the_same(flow: dict[str, Any], tmp_path: Path) -> None:
    command = feed_of(PLAIN, tmp_path / "feed.py")
    whole = cognate.run(fed_flow(flow, {"command": command}), out=tmp_path / "whole", progress=False)
    dying = feed_of(
        """
        import os, time
        stop = np.random.default_rng(time.time_ns()).integers(2, 9)
        for n, batch in enumerate(cognate.Feed(states="table 1")):
            if n == stop:
                os.kill(os.getpid(), 9)
            batch.answer({"resid_post.0": np.concatenate([activations(ids) for ids in batch.contexts])})
        """,
        tmp_path / "dying.py",
    )
    deaths = 0
    while True:
        try:
            run = cognate.run(fed_flow(flow, {"command": dying}), out=tmp_path / "dying", progress=False)
            break
        except cognate.MachineError as e:
            assert "its feed ended (signal: 9 (SIGKILL)) while batch" in e.message
            deaths += 1
            assert deaths < 40
    assert deaths > 1
    same_tables(whole, run)


def test_a_feed_at_a_socket_serves_runs_at_once_and_ends_with_them(flow: dict[str, Any], tmp_path: Path) -> None:
    script = PLAIN.replace("Feed(", f"Feed({str(tmp_path / 'feed.sock')!r}, once=True, ")
    with subprocess.Popen(feed_of(script, tmp_path / "feed.py")) as feed:
        text = cognate.to_toml(fed_flow(flow, {"socket": tmp_path / "feed.sock"}))
        (tmp_path / "flow.toml").write_text(text)
        starts = [
            subprocess.Popen([cognate.program(), "run", "--quiet", tmp_path / "flow.toml", "--out", tmp_path / out])
            for out in ("one", "two")
        ]
        assert [run.wait() for run in starts] == [0, 0]
        assert feed.wait(timeout=60) == 0
    same_tables(cognate.Run(tmp_path / "one"), cognate.Run(tmp_path / "two"))


def test_latents_are_the_same_dense_and_listed(flow: dict[str, Any], tmp_path: Path) -> None:
    ways = {
        "dense": "rows",
        "listed": "(np.argsort(-rows, axis=1)[:, :9], -np.sort(-rows, axis=1)[:, :9])",
        "padded": "[np.float32(row) for row in np.split(rows, np.cumsum([len(ids) for ids in batch.contexts])[:-1])]",
    }
    runs = []
    for name, given in ways.items():
        command = feed_of(
            f"""
            for batch in cognate.Feed():
                assert batch.latents == {{"resid_post.0"}} and batch.asks == {{"resid_post.0": 16}}
                rows = np.concatenate([activations(ids) for ids in batch.contexts])
                # the nine largest, where they are above 0
                rows = np.where((rows > 0) & (rows >= -np.sort(-rows, axis=1)[:, 8:9]), rows, 0)
                batch.answer({{"resid_post.0": {given}}})
            """,
            tmp_path / f"{name}.py",
        )
        asked = fed_flow(flow, {"command": command})
        asked["saes"] = {"fed/resid_post.0": {"fed": {"d_sae": 16, "most": 9}}}
        runs.append(cognate.run(asked, out=tmp_path / name, progress=False))
    same_tables(runs[0], runs[1])
    same_tables(runs[0], runs[2])
    assert 0 < runs[0].latents("fed/resid_post.0").to_pylist()[3]["frequency"] < 0.7


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ('batch.answer({"resid_post.0": np.zeros((3, 16))})', "its feed ended (exit status: 1)"),
        ('batch.answer({"resid_post.1": np.zeros((3, 16))})', "its feed ended (exit status: 1)"),
        ("pass", "its feed ended (exit status: 1)"),
    ],
)
def test_a_wrong_answer_ends_the_feed_before_it_is_sent(
    flow: dict[str, Any], tmp_path: Path, answer: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    command = feed_of(f"for batch in cognate.Feed():\n    {answer}\n", tmp_path / "feed.py")
    with pytest.raises(cognate.MachineError, match=re.escape(said)):
        cognate.run(fed_flow(flow, {"command": command}), out=tmp_path / "run", progress=False)


def test_a_feed_that_no_run_started_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COGNATE_FEED", raising=False)
    with pytest.raises(RuntimeError, match="not started by a run"):
        cognate.Feed()


def test_a_socket_that_a_killed_feed_left_behind_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "feed.sock"
    first = cognate.Feed(path)
    with pytest.raises(FileExistsError, match="another feed listens"):
        cognate.Feed(path)
    assert first._listener is not None
    first._listener.close()
    with cognate.Feed(path):
        assert path.exists()
    assert not path.exists()


def example(package: str) -> str:
    """An example of docs/feeds.md, word for word."""
    text = (PROJECT / "docs/feeds.md").read_text()
    return text.split(f"<!-- example: {package} -->\n```python\n")[1].split("```")[0]


def test_the_example_with_files_gives_the_tables_of_what_was_stored(
    flow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storing = feed_of(
        f"""
        rows = {{}}
        for batch in cognate.Feed():
            held = [activations(ids) for ids in batch.contexts]
            # the doctor has nothing to try here, and each batch is asked for once
            rows[batch.first_row] = np.concatenate([x[counted] for x, counted in zip(held, batch.counted)])
            batch.answer({{"resid_post.0": held}})
        np.save({str(tmp_path / "rows.npy")!r}, np.concatenate([rows[first] for first in sorted(rows)]))
        """,
        tmp_path / "storing.py",
    )
    first = cognate.run(fed_flow(flow, {"command": storing}), out=tmp_path / "first", progress=False)
    (tmp_path / "feed.py").write_text(example("files"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE))
    again = cognate.run(fed_flow(flow, {"command": [sys.executable, "feed.py"]}), out=tmp_path / "again", progress=False)
    assert first.matches().equals(again.matches()) and first.latents().equals(again.latents())


def test_the_example_that_writes_files_gives_the_tables_of_what_it_wrote(
    flow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    pytest.importorskip("safetensors")
    (tmp_path / "data").symlink_to(PROJECT / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE))
    del flow["saes"]["small-a/resid_post.1"]
    flow["check"] = {"doctor": "off"}
    (tmp_path / "feed.py").write_text(example("write_files"))
    model = {"tokenizer": "data/demo/models/small-a"}
    flow["models"]["small-a"] = {"feed": {"command": [sys.executable, "feed.py"]}, **model}
    first = cognate.run(flow, out=tmp_path / "first", progress=False)
    flow["models"]["small-a"] = {"files": {"resid_post.2": "acts/resid_post.2/*.safetensors"}, **model}
    again = cognate.run(flow, out=tmp_path / "again", progress=False)
    assert first.matches().equals(again.matches()) and first.latents().equals(again.latents())


@pytest.mark.parametrize("package", ["transformers", "transformer_lens", "nnsight"])
def test_examples_of_the_document_give_the_tables_of_the_model_that_runs_here(
    package: str, flow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip(package)
    monkeypatch.chdir(PROJECT)
    del flow["saes"]["small-a/resid_post.1"]
    here = cognate.run(flow, out=tmp_path / "here", progress=False)
    script = tmp_path / "feed.py"
    script.write_text(example(package))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE))
    flow["models"]["small-a"] = {"feed": {"command": [sys.executable, script]}, "tokenizer": "data/demo/models/small-a"}
    fed = cognate.run(flow, out=tmp_path / "fed", progress=False)
    close(here, fed, "small-a/resid_post.2")


def test_the_example_with_latents_gives_those_of_the_same_sae_here(
    flow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    torch = pytest.importorskip("torch")
    (tmp_path / "data").symlink_to(PROJECT / "data")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    config = sae_lens.StandardSAEConfig(d_in=128, d_sae=256, apply_b_dec_to_input=False, normalize_activations="none")
    sae = sae_lens.StandardSAE(config)
    with torch.no_grad():
        sae.b_enc.fill_(-1.0)
    sae.save_model("my-sae")
    del flow["saes"]["small-a/resid_post.1"]
    flow["check"] = {"doctor": "off"}
    for key in ("measures", "pairings", "null"):
        del flow["estimate"][key]
    flow["saes"]["small-a/resid_post.2"] = {"path": "my-sae"}
    here = cognate.run(flow, out=tmp_path / "here", progress=False)
    (tmp_path / "feed.py").write_text(example("sae_lens"))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE))
    flow["models"]["small-a"] = {"feed": {"command": [sys.executable, "feed.py"]}, "tokenizer": "data/demo/models/small-a"}
    flow["saes"]["small-a/resid_post.2"] = {"fed": {"d_sae": 256}}
    fed = cognate.run(flow, out=tmp_path / "fed", progress=False)
    close(here, fed, "small-a/resid_post.2")


def test_the_example_with_a_latent_cache_gives_the_latents_that_were_exported(
    flow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").symlink_to(PROJECT / "data")
    monkeypatch.chdir(tmp_path)
    del flow["saes"]["small-a/resid_post.1"]
    # with full contexts alone, all of them in the cache, its firings are those of the run
    flow["corpus"]["remainder"] = "drop"
    run = cognate.run(flow, out=tmp_path / "run", progress=False)
    subprocess.run([cognate.program(), "export", run.path, "--delphi", "cache", "--contexts", "100000"], check=True)
    # every split holds the sequences
    splits = sorted(str(path) for path in Path("cache/small-a/latents/resid_post.2").glob("*.safetensors"))
    flow["corpus"] = {"files": splits[-1:], "context_length": 64}
    for key in ("measures", "pairings", "null"):
        del flow["estimate"][key]
    flow["models"]["small-a"] = {"files": {}, "tokenizer": "data/demo/models/small-a"}
    cache = {"path": "cache/small-a/latents/resid_post.2", "d_sae": 1024, "most": 128}
    flow["saes"]["small-a/resid_post.2"] = {"stored": cache}
    stored = cognate.run(flow, out=tmp_path / "stored", progress=False)
    kept = {row["source_latent"] for row in run.matches(kept_only=True).to_pylist()}
    ours, theirs = ({row["latent"]: row for row in r.latents("small-a/resid_post.2").to_pylist()} for r in (run, stored))
    assert len(kept) > 50
    for latent in kept:
        assert theirs[latent]["n_active"] == ours[latent]["n_active"], latent
        # F16 has 11 digits
        assert theirs[latent]["mean"] == pytest.approx(ours[latent]["mean"], rel=2**-11), latent


def close(here: cognate.Run, fed: cognate.Run, site: str) -> None:
    """Statistics of latents and correlations within the tolerances of the fixtures: 1e-5 of a sum, 2e-5 of a correlation."""
    ours, theirs = (run.latents(site).to_pylist() for run in (here, fed))
    # a top-k or a threshold may fall the other way where two values differ in their last digits
    assert sum(a["n_active"] != b["n_active"] for a, b in zip(ours, theirs)) <= len(ours) // 50
    for a, b in zip(ours, theirs):
        if a["n_active"] == b["n_active"] > 0:
            assert b["mean"] == pytest.approx(a["mean"], rel=1e-4), a["latent"]
    best = [
        {(m["direction"], m["source_latent"], m["target_latent"]): m["correlation"] for m in run.matches().to_pylist()}
        for run in (here, fed)
    ]
    both = [key for key in best[0].keys() & best[1].keys() if best[0][key] is not None]
    assert len(both) > 0.98 * len(best[0])
    far = sorted(abs(best[0][key] - best[1][key]) for key in both)
    assert far[int(0.98 * len(far))] < 2e-5, far[-10:]


def test_a_slow_feed_is_waited_for(flow: dict[str, Any], tmp_path: Path) -> None:
    command = feed_of(
        """
        import time
        for batch in cognate.Feed():
            time.sleep(0.7)
            batch.answer({"resid_post.0": [activations(ids) for ids in batch.contexts]})
        """,
        tmp_path / "feed.py",
    )
    asked = fed_flow(flow, {"command": command, "silence": 2})
    asked["corpus"]["max_tokens"] = 2_500
    started = time.monotonic()
    cognate.run(asked, out=tmp_path / "run", progress=False)
    assert time.monotonic() - started > 3
