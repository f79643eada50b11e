"""Ctrl-C, pause, resume and stop: a run ends between two steps, and the next one goes on from there."""

from __future__ import annotations

import signal
import subprocess

import pytest

from tests.cli.shop import Shop

#: Longer than any test: a wait that is not interrupted makes the test fail.
LONG = "600s"
LOOKING = "looking again"
SOURCE = [(1, 10), (2, 20), (3, 30)]
TARGET = [(1, 10), (2, 99)]


@pytest.fixture
def settling(shop: Shop) -> Shop:
    """A shop whose runs wait between two looks."""
    shop.fill(SOURCE, TARGET)
    shop.declare(settle=LONG)
    return shop


def run_state(shop: Shop) -> tuple[str, str]:
    """State and stage of the newest run, from the ledger itself."""
    (row,) = shop.sql("SELECT state, stage FROM trueup_runs ORDER BY started_at DESC LIMIT 1", database="trueup")
    return row[0], row[1]


# --- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["run", "check", "plan"])
def test_one_interrupt_ends_the_wait_and_leaves_a_run_to_resume(settling: Shop, command: str) -> None:
    with settling.running(command, "p", "--json") as going:
        going.until(LOOKING)
        going.interrupt()
        ended = going.end()
    assert ended.code == 3
    assert ended.out == ""
    assert "stopping after the current segment" in ended.err
    assert run_state(settling) == ("interrupted", "confirm")
    assert settling.target == [(*row, None) for row in TARGET]
    status = settling.run("status", "--json").json["projections"][0]
    assert status["state"] == "interrupted"


def test_the_next_run_resumes_it(settling: Shop) -> None:
    with settling.running("run", "p") as going:
        going.until(LOOKING)
        going.interrupt()
        assert going.end().code == 3
    # The suspects have settled: without another wait they are looked at again. `settle` is part of the definition,
    # so the time that has passed is put into the ledger instead.
    settling.sql(
        "UPDATE trueup_segments SET looked_at = datetime(looked_at, '-700 seconds') WHERE looked_at IS NOT NULL",
        database="trueup",
    )
    (before,) = settling.sql("SELECT id FROM trueup_runs", database="trueup")
    with settling.running("run", "p", "--json") as going:
        # What was repaired is verified by two looks as well, were it wrong; here it is right at once.
        ended = going.end()
    assert ended.code == 0
    assert f"resuming {before[0]} (confirm)" in ended.err
    assert (ended.report["run"], ended.report["resumed"]) == (before[0], True)
    assert ended.report["repaired"] == 2
    assert settling.target == [(1, 10, None), (2, 20, None), (3, 30, None)]
    assert settling.sql("SELECT count(*) FROM trueup_runs", database="trueup") == [(1,)]


def test_a_run_of_a_changed_definition_is_not_resumed(settling: Shop) -> None:
    with settling.running("run", "p") as going:
        going.until(LOOKING)
        going.interrupt()
        going.end()
    settling.declare(settle="0s")
    ended = settling.run("run", "p", "--json")
    assert (ended.code, ended.report["resumed"], ended.report["repaired"]) == (0, False, 2)
    states = settling.sql("SELECT state FROM trueup_runs ORDER BY started_at", database="trueup")
    assert states == [("abandoned",), ("done",)]


def test_another_command_does_not_resume_it(settling: Shop) -> None:
    with settling.running("run", "p") as going:
        going.until(LOOKING)
        going.interrupt()
        going.end()
    with settling.running("check", "p") as going:
        going.until(LOOKING)
        going.interrupt()
        assert "resuming" not in going.end().err
    rows = settling.sql("SELECT command, state FROM trueup_runs ORDER BY started_at", database="trueup")
    assert rows == [("run", "interrupted"), ("check", "interrupted")]


def test_sigterm_is_as_gentle(settling: Shop) -> None:
    with settling.running("run", "p") as going:
        going.until(LOOKING)
        going.process.send_signal(signal.SIGTERM)
        ended = going.end()
    assert ended.code == 3
    assert run_state(settling) == ("interrupted", "confirm")


@pytest.fixture
def endless(shop: Shop) -> Shop:
    """A source whose query never ends."""
    endless = (
        "WITH RECURSIVE c(id) AS (SELECT max(id) FROM src UNION ALL SELECT id + 1 FROM c)"
        " SELECT max(id) AS id, 1 AS n FROM c"
    )
    shop.fill(SOURCE, SOURCE)
    shop.declare(source={"database": "app", "query": endless}, columns=["n"])
    return shop


def test_a_second_interrupt_ends_it_at_once(endless: Shop) -> None:
    """One statement goes on for ever: the first Ctrl-C waits for its end, the second does not."""
    with endless.running("check", "p", "--json") as going:
        going.until_reading(endless)
        going.interrupt()
        going.until("once more stops at once")
        with pytest.raises(subprocess.TimeoutExpired):
            going.process.wait(timeout=0.5)
        going.interrupt()
        ended = going.end()
    assert (ended.code, ended.out) == (3, "")
    assert "cut off in the middle of a statement" in ended.err
    assert run_state(endless) == ("interrupted", "narrow")
    # What was cut off can be run again.
    endless.declare()
    assert endless.run("check", "p").code == 0


def test_a_killed_run_is_resumed(settling: Shop) -> None:
    with settling.running("run", "p") as going:
        going.until(LOOKING)
        going.process.kill()
        assert going.end().code == -signal.SIGKILL
    assert run_state(settling) == ("running", "confirm")
    settling.sql(
        "UPDATE trueup_segments SET looked_at = datetime(looked_at, '-700 seconds') WHERE looked_at IS NOT NULL",
        database="trueup",
    )
    ended = settling.run("run", "p", "--json")
    assert (ended.code, ended.report["resumed"], ended.report["repaired"]) == (0, True, 2)


def test_two_runs_of_one_projection_at_a_time_are_refused(settling: Shop) -> None:
    with settling.running("run", "p") as going:
        going.until(LOOKING)
        second = settling.run("run", "p")
        assert second.code == 4
        assert "another process" in second.err
        assert str(going.process.pid) in second.err
        going.interrupt()
        going.end()


# --- pause, resume, stop ---------------------------------------------------------------------------------------------


def test_a_paused_projection_waits_and_goes_on(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    assert shop.run("pause", "p", "--reason", "we are migrating").code == 0
    assert shop.run("status", "--json").json["projections"][0]["state"] == "paused"
    with shop.running("run", "p", "--json") as going:
        going.until("paused")
        assert "we are migrating" in going.told
        assert shop.target == [(*row, None) for row in TARGET]
        assert shop.run("resume", "p").code == 0
        ended = going.end()
    assert (ended.code, ended.report["repaired"]) == (0, 2)


def test_a_run_that_is_going_on_can_be_paused(shop: Shop) -> None:
    """Paused while it waits between two looks, it halts at the next border, before anything is written."""
    shop.fill(SOURCE, TARGET)
    shop.declare(settle="2s")
    with shop.running("run", "p", "--json") as going:
        going.until(LOOKING)
        with going.standing_still():
            shop.run("pause", "p", "--reason", "just now")
        going.until("just now; waiting for `trueup resume p`")
        assert shop.target == [(*row, None) for row in TARGET]
        shop.run("resume", "p")
        ended = going.end()
    assert (ended.code, ended.report["repaired"]) == (0, 2)


def test_a_paused_run_can_be_interrupted(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    shop.run("pause", "p")
    with shop.running("run", "p") as going:
        going.until("paused")
        going.interrupt()
        assert going.end().code == 3
    assert shop.target == [(*row, None) for row in TARGET]


def test_a_stopped_projection_writes_nothing_until_resume(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    stopped = shop.run("stop", "p", "--reason", "incident 7")
    assert stopped.code == 0
    assert "no write is in flight" in stopped.out
    ran = shop.run("run", "p")
    assert ran.code == 4
    assert "incident 7" in ran.err
    assert "trueup resume p" in ran.err
    assert shop.target == [(*row, None) for row in TARGET]
    assert shop.run("status", "--json").json["projections"][0]["state"] == "stopped"
    assert shop.run("resume", "p").code == 0
    assert shop.run("run", "p").code == 0


def test_stop_ends_a_run_that_is_going_on(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    shop.declare(settle="2s")
    with shop.running("run", "p", "--json") as going:
        going.until(LOOKING)
        with going.standing_still():
            assert shop.run("stop", "p").code == 0
        ended = going.end()
    assert ended.code == 4
    assert shop.target == [(*row, None) for row in TARGET]


def test_stop_does_not_need_the_marker_tables(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    shop.databases["app"]["markers"] = False
    shop.write()
    assert shop.run("stop", "p").code == 0
    assert shop.run("run", "p").code == 4
    shop.run("resume", "p")
    ran = shop.run("run", "p", "--json")
    assert (ran.code, ran.report["repaired"]) == (0, 2)
    assert shop.sql("SELECT count(*) FROM sqlite_master WHERE name LIKE 'trueup_%'") == [(0,)]


def test_one_projection_is_stopped_and_not_its_neighbour(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    shop.declare("q")
    shop.run("stop", "p")
    assert shop.run("run", "q").code == 0
