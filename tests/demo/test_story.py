"""`trueup demo` keeps its promises on a real run, and fails when one is broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import PATIENCE_S, until
from trueup.demo import story
from trueup.demo.acts import Scene
from trueup.demo.drawing import MISTAKES, NEXT, Drawing
from trueup.demo.faults import KINDS
from trueup.demo.promises import Promise, exit_code
from trueup.demo.stage import CONFIG, SETTLE_S, DemoFailed, Pace, Stage, Standstill

#: One worker plays the demo, once, and nobody waits for it: two at a time slow each other's projector down.
pytestmark = pytest.mark.xdist_group("demo")
COMMAND = [sys.executable, "-m", "trueup", "demo"]


def promise(*, held: bool = True) -> Promise:
    return Promise(says="The sum is right", held=held, counted="1 of 1")


# --- the whole story -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Played:
    """One real run, with everything in it, that all these tests look at."""

    folder: Path
    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        assert self.code == 0, self.out[-3000:] + self.err[-3000:]
        document: dict[str, Any] = json.loads(self.out)
        return document


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("demo") / "kept"
    words = ["--json", "--naive", "--seed", "7", "--keep", str(folder)]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, timeout=280, check=False)
    return Played(folder=folder, code=done.returncode, out=done.stdout, err=done.stderr)


@pytest.fixture
def told(played: Played) -> dict[str, Any]:
    return played.told


def test_all_promises_hold(told: dict[str, Any]) -> None:
    assert [p for p in told["promises"] if not p["held"]] == []
    assert len(told["promises"]) == 10
    assert told["verdict"] == "held"
    assert told["seed"] == 7


def test_check_is_counted_against_the_list(told: dict[str, Any]) -> None:
    assert told["acts"]["set_up"]["mistakes"] == sum(each["listed"] for each in told["acts"]["check"].values()) == 72
    for each in told["acts"]["check"].values():
        assert each["suspects"] == each["drift"] + each["resolved"] + each["in_flight"]
        assert each["found"] + each["moving"] == each["listed"]
        assert each["drift"] == each["found"] + each["wrongly"]
        assert sum(each["kinds"].values()) == each["drift"]


def test_plan_shows_every_kind_and_apply_steps_aside(told: dict[str, Any]) -> None:
    plan, applied = told["acts"]["plan"], told["acts"]["apply"]
    assert {row["mistake"] for row in plan["examples"]} >= {"orphan_row", "double_apply", "null_counter"}
    assert set(plan["statements"]) == set(plan["actions"])
    assert sum(plan["actions"].values()) == plan["rows"] == applied["planned"]
    assert applied["applied"] + applied["stepped_aside"] == plan["rows"]
    assert applied["stepped_aside"] == len(applied["listed_aside"]) >= 1
    assert all(row["why"] for row in applied["listed_aside"])


def test_killed_run_is_resumed(told: dict[str, Any]) -> None:
    crash = told["acts"]["crash"]
    assert crash["signal"] == signal.SIGKILL
    assert crash["noted"] + crash["open_rows"] + crash["not_begun"] == crash["decided"]
    assert crash["resumed_run"] == crash["run"]
    assert crash["recovered_applied"] == crash["recovered"] == crash["open_rows"] > 0
    assert crash["written_twice"] == 0


def test_refusal_and_control(told: dict[str, Any]) -> None:
    assert told["acts"]["collapse"]["exit_code"] == 4
    assert told["acts"]["collapse"]["untouched"]
    assert told["acts"]["plain"]["destroyed"] > 0
    assert told["acts"]["finish"]["wrong"] == 0


def test_what_is_kept_can_be_looked_at(played: Played) -> None:
    words = [sys.executable, "-m", "trueup", "check", "--json", "-c", str(played.folder / "trueup.toml")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout)["verdict"] == "in_sync"


def test_figures_can_be_drawn_without_escapes(told: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    drawing = Drawing()
    for name, figures in told["acts"].items():
        getattr(drawing, name)(figures)
    drawing.ending([promise(), promise(held=False)], 41.0, Path("kept/trueup.toml"))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]" not in out
    assert "BROKEN" in out
    assert "1 BROKEN" in out
    assert all(command in out for command, _ in NEXT)


def test_ctrl_c_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    _interrupt(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert _processes_naming(str(tmp_path)) == []


def test_a_process_that_was_just_begun_when_ctrl_c_came_is_ended_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran on for ten minutes: nobody had noted it yet."""
    begun: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def interrupted(*words: Any, **options: Any) -> subprocess.Popen[str]:
        begun.append(popen(*words, **options))
        signal.raise_signal(signal.SIGINT)
        return begun[0]

    stage = Stage(folder=tmp_path, seed=1, pace=Pace())
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        stage.start("trueup.demo.traffic", "--help")
    stage.close()
    assert begun[0].returncode is not None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def _interrupt(tmp_path: Path) -> None:
    process = subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    try:
        until(lambda: [*tmp_path.glob("trueup-demo-*/faults.jsonl")], "the list of faults", timeout_s=120)
        until(lambda: _processes_naming(str(tmp_path)), "the demo's own processes", timeout_s=120)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode != 0


def _processes_naming(words: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if words in line and str(os.getpid()) not in str(path):
            found.append(line)
    return found


# --- promises --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("promises", "code"),
    [([], 1), ([promise()], 0), ([promise(), promise(held=False)], 1), ([promise(held=False)], 1)],
)
def test_exit_code_says_whether_all_promises_held(promises: list[Promise], code: int) -> None:
    assert exit_code(promises) == code


@pytest.mark.parametrize(("held", "code"), [(True, 0), (False, 1)])
def test_a_broken_promise_fails_the_command(
    held: bool, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def play(stage: Stage, told: story._Telling, *, naive: bool) -> None:
        scene = Scene(figures={"rows": 3}, promises=(promise(held=held),))
        told.act("one", "One", "It shows.", lambda: scene, lambda figures: None, working="working")

    monkeypatch.setattr(story, "_play", play)
    assert story.demo(as_json=True) == code
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"] == ("held" if held else "broken")
    assert document["promises"] == [{"says": "The sum is right", "held": held, "counted": "1 of 1"}]
    assert document["acts"]["one"]["rows"] == 3
    assert story.demo() == code
    out = capsys.readouterr().out
    assert ("BROKEN" in out) is not held
    assert "trueup init" in out


# --- the stage -------------------------------------------------------------------------------------------------------


def test_configuration_is_what_the_story_says() -> None:
    declared = tomllib.loads(CONFIG)["projections"]
    assert {each["settle"] for each in declared.values()} == {f"{SETTLE_S:g}s"}
    assert {each["writers"] for each in declared.values()} == {"versioned"}
    assert set(KINDS) <= set(MISTAKES)


def test_a_kept_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "demo.db").write_text("mine")
    with pytest.raises(Exception, match="is there already"):
        story.demo(keep=tmp_path, as_json=True)
    assert (tmp_path / "demo.db").read_text() == "mine"


def test_traffic_that_dies_is_told(tmp_path: Path) -> None:
    stage = Stage(folder=tmp_path, seed=1, pace=Pace(history_faults=0, live_faults=0, traffic_s=0.2))
    stage.prepare()
    stage.start_traffic()
    with pytest.raises(DemoFailed, match="ended early"):
        stage.wait_until(lambda: False, seconds=PATIENCE_S)
    stage.close()


def test_standstill_is_measured(tmp_path: Path) -> None:
    stage = Stage(folder=tmp_path, seed=1, pace=Pace(history_faults=0))
    stage.prepare()
    with Standstill(stage) as nothing_waits:
        time.sleep(0.5)
    stage.ask(
        "INSERT INTO departures SELECT id + 1, tailnum, carrier, flight, origin, dest, hour, delay_min, miles"
        " FROM departures ORDER BY id DESC LIMIT 1"
    )
    with Standstill(stage) as one_waits:
        until(lambda: one_waits.longest_s > 0.4, "a standstill while an event waits")
    assert nothing_waits.longest_s < 0.3
    assert one_waits.longest_s > 0.4
