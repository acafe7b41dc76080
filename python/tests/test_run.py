"""Is a run started, watched, interrupted and resumed as the program does it by itself?"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import pytest

import cognate
from cognate._errors import of_exit
from cognate._progress import Narrator, _Notebook, _Plain


def files(run: cognate.Run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.folder.glob("*.parquet")}


def test_a_dict_gives_what_its_file_gives(run: cognate.Run, flow: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "flow.toml"
    path.write_text(cognate.to_toml(flow))
    by_file = cognate.run(path, out=tmp_path / "run", progress=False)
    assert files(by_file) == files(run)
    plain = tmp_path / "plain"
    subprocess.run([cognate.program(), "run", path, "--out", plain, "--quiet"], check=True)
    assert files(cognate.Run(plain)) == files(run)


def test_the_directory_is_the_runs_name_where_out_is_left_out(
    flow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cognate.run(flow, max_tokens=2_000, progress=False)
    assert found.path == Path("runs/small") and found.status()["state"] == "finished"
    # the same call finds it complete
    assert cognate.run(flow, max_tokens="2k", progress=False).path == found.path


def interrupt_when(there: Path) -> None:
    """Interrupts this process, as a stop button does, once a file is there."""

    def wait() -> None:
        while not there.exists():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


def test_an_interrupt_saves_and_the_same_call_resumes(run: cognate.Run, flow: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "run"
    interrupt_when(out / "manifest.json")
    with pytest.raises(KeyboardInterrupt):
        cognate.run(flow, out=out, progress=False)
    status = cognate.Run(out).status()
    assert status["state"] == "stopped" and 0 < status["checkpoint"]["tokens"] < 12_000, status
    resumed = cognate.run(flow, out=out, progress=False)
    assert files(resumed) == files(run)


def test_the_program_is_asked_to_stop_once_and_waited_for(stand_in: Any, flow: dict[str, Any], tmp_path: Path) -> None:
    said = tmp_path / "said"
    # it counts its signals, and needs a while to save
    stand_in(
        f"n=0; trap 'n=$((n + 1))' INT; touch {said}; while [ $n = 0 ]; do sleep 0.05; done; sleep 0.4; "
        f"echo asked $n times, saved > {said}; exit 130\n"
    )
    interrupt_when(said)
    with pytest.raises(KeyboardInterrupt):
        cognate.run(flow, progress=False)
    assert said.read_text() == "asked 1 times, saved\n"


def test_an_interrupt_while_the_program_starts_reaches_it(
    stand_in: Any, flow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    stand_in(f"trap 'echo asked > {said}; exit 130' INT; touch {said}; while :; do sleep 0.05; done\n")
    start = subprocess.Popen

    def slow(*arguments: Any, **more: Any) -> Any:
        process = start(*arguments, **more)
        while not said.exists():
            time.sleep(0.005)
        os.kill(os.getpid(), signal.SIGINT)
        return process

    cognate.program()
    monkeypatch.setattr(subprocess, "Popen", slow)
    with pytest.raises(KeyboardInterrupt):
        cognate.run(flow, progress=False)
    assert said.read_text() == "asked\n"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_program_gets_no_signal_of_this_process_group(stand_in: Any, flow: dict[str, Any], tmp_path: Path) -> None:
    # a notebook's stop button and Ctrl-C reach the whole group: with this, the program would be asked twice, and not save
    group = tmp_path / "group"
    stand_in(f"ps -o pgid= -p $$ > {group}\n")
    cognate.run({**flow, "name": "x"}, progress=False)
    assert int(group.read_text()) != os.getpgid(0)


def test_a_failure_while_stopping_is_not_taken_for_a_stop(stand_in: Any, flow: dict[str, Any], tmp_path: Path) -> None:
    there = tmp_path / "there"
    stand_in(f"trap 'echo error: no space left >&2; exit 5' INT; touch {there}; while :; do sleep 0.05; done\n")
    interrupt_when(there)
    with pytest.raises(cognate.MachineError, match="no space left"):
        cognate.run(flow, progress=False)


@pytest.mark.parametrize(
    "change, kind, code, words",
    [
        ({"corpus": {"context_lenth": 64}}, cognate.RequestError, 2, "did you mean `context_length`"),
        ({"seed": 8}, cognate.StateError, 4, "seed"),
        ({"models": {"small-a": {"path": "nowhere"}}}, cognate.RequestError, 2, "nowhere"),
    ],
)
def test_a_refusal_is_the_programs(
    run: cognate.Run, flow: dict[str, Any], change: dict[str, Any], kind: type[cognate.CognateError], code: int, words: str
) -> None:
    for key, value in change.items():
        flow[key] = {**flow[key], **value} if isinstance(value, dict) else value
    with pytest.raises(kind, match=words) as error:
        cognate.run(flow, out=run.path, progress=False)
    by_hand = subprocess.run(
        [cognate.program(), "run", "-", "--out", run.path, "--quiet"], input=cognate.to_toml(flow), text=True, capture_output=True
    )
    assert (error.value.code, by_hand.returncode) == (code, code)
    assert by_hand.stderr.strip().endswith("error: " + error.value.message)


def test_too_little_memory_is_the_machines(flow: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(cognate.MachineError, match="1.00 MiB") as error:
        cognate.run(flow, out=tmp_path / "run", memory_limit="1MiB", progress=False)
    again = pickle.loads(pickle.dumps(error.value))
    assert (type(again), again.message, again.code) == (cognate.MachineError, error.value.message, 5)


@pytest.mark.parametrize(
    "code, said, kind, message",
    [
        (1, "error: sae x: does not fit\n       and sae y\n", cognate.CheckFailed, "sae x: does not fit\n       and sae y"),
        (130, "", cognate.Interrupted, "cognate ended with exit code 130"),
        (2, "warning: w\nerror: a: error: b\n", cognate.RequestError, "a: error: b"),
        (-9, "", cognate.MachineError, "cognate was killed by signal 9; the same call resumes from the last checkpoint"),
        (101, "thread panicked\n", cognate.CognateError, "thread panicked"),
    ],
)
def test_errors_by_exit_code(code: int, said: str, kind: type, message: str) -> None:
    error = of_exit(code, said)
    assert (type(error), error.message, error.code) == (kind, message, code)


def test_warnings_are_warnings_at_the_callers_line(stand_in: Any, flow: dict[str, Any]) -> None:
    stand_in("""echo '{"event":"plan","plan":{"name":"n","pairs":[]}}'; echo '{"event":"warning","text":"mind this"}'\n""")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cognate.run(flow, progress=False)
    assert [(w.category, str(w.message), w.filename) for w in caught] == [(cognate.CognateWarning, "mind this", __file__)]


EVENTS = [
    {"event": "plan", "plan": {"name": "demo", "pairs": [1, 2]}},
    {"event": "note", "text": "doctor: 6 SAEs checked"},
    {"event": "progress", "tokens": 12000, "tokens_per_second": 1518.2, "seconds_left": 61.0, "share": 0.25},
    {"event": "snapshot", "tokens": 15225, "n_mutual": 3749, "n_mutual_null": 2012, "n_kept": 5006, "n_kept_null": None},
]


def test_progress_in_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    narrator = Narrator(_Plain(), lambda text: None)
    for event in EVENTS:
        narrator.tell(event)
    narrator.done()
    kept = capsys.readouterr().err.splitlines()
    # between two lines of progress are ten seconds
    assert kept[0] == "doctor: 6 SAEs checked" and len(kept) == 2
    assert kept[1] == "done in 0 s: 15 225 tokens; 3 749 mutual matches (chance 2 012), 5 006 kept (chance unknown)"


def test_progress_in_a_notebook_is_one_output(monkeypatch: pytest.MonkeyPatch) -> None:
    ipython = pytest.importorskip("IPython.display")
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, data: dict[str, str], raw: bool) -> None:
            shown.append(data)

    def put(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        assert not shown, "a second output"
        shown.append(data)
        return Handle()

    monkeypatch.setattr(ipython, "display", put)
    narrator = Narrator(_Notebook(), lambda text: None)
    for event in EVENTS:
        narrator.tell(event)
    assert shown[-1]["text/plain"] == "doctor: 6 SAEs checked\n12 000 tokens, 1 518 tokens/s, 1 min 1 s left"
    assert 'value="0.250"' in shown[-1]["text/html"]
    narrator.done()
    assert "<progress" not in shown[-1]["text/html"] and "3 749 mutual matches (chance 2 012)" in shown[-1]["text/plain"]


def test_plan(flow: dict[str, Any]) -> None:
    found = cognate.plan(flow)
    assert found["name"] == "small" and found["memory_bytes"] > 0 and len(found["pairs"]) == 2
    with pytest.raises(cognate.MachineError):
        cognate.plan(flow, memory_limit="1MiB")


def test_a_file_whose_name_begins_with_a_dash(flow: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text(cognate.to_toml(flow))
    assert cognate.plan("-")["name"] == "small"


if __name__ == "__main__":
    sys.exit(pytest.main([__file__]))
