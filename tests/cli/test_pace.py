"""`trueup pace`: what is shown, what can be set, and what is refused."""

from __future__ import annotations

import pytest

from tests.cli.shop import Shop
from trueup.cli.pace import drawn, folded
from trueup.core.pace.pressure import STALE, STALE_AFTER_S, Signal, worst
from trueup.core.pace.settings import Override
from trueup.pace.looking import CANARY_MARK
from trueup.store.paces import PaceRow


@pytest.fixture
def paced(shop: Shop) -> Shop:
    shop.databases["app"]["pace"] = {"adaptive": False, "fixed": 1000, "most": 1000}
    shop.write()
    shop.fill([(1, 1)], [(1, 1)])
    return shop


def test_shown_set_and_cleared(paced: Shop) -> None:
    assert "nobody has worked on it yet" in paced.run("pace").out
    assert paced.run("check", "p").code == 0
    shown = paced.run("pace", "app").out
    assert "adaptive pacing is off" in shown
    assert "1000.00 statements in flight" in shown
    done = paced.run("pace", "app", "set", "most=2", "protect=5%", "--for", "30m", "--reason", "release")
    assert (done.code, "most=2" in done.out) == (0, True)
    (found,) = paced.run("pace", "--json").json["databases"]
    assert found["override"] == {"most": 2.0, "protect": 0.05}
    assert found["override_why"] == "release"
    assert 0 < found["override_left_s"] <= 1800
    assert "release" in paced.run("pace").out
    assert paced.run("pace", "app", "clear").code == 0
    (found,) = paced.run("pace", "--json").json["databases"]
    assert found["override"] == {}
    assert paced.run("audit", "sequence").code == 0
    assert paced.run("audit", "list", "--json").out.count("pace.set") == 2


def test_profiles_are_set_by_name_and_hours_are_shown(paced: Shop) -> None:
    pace = paced.databases["app"]["pace"]
    pace["profiles"] = {"night": {"protect": 0.4}}
    pace["windows"] = [{"when": "00:00-24:00", "profile": "night", "most": 900}]
    paced.write()
    assert paced.run("check", "p").code == 0
    shown = paced.run("pace", "app").out
    assert "hours     00:00-24:00 (UTC): profile = night, most = 900" in shown
    assert "900" in shown.partition("most ")[2]
    assert paced.run("pace", "app", "set", "profile=night").code == 0
    assert "set       profile = night by" in paced.run("pace", "app").out
    (found,) = paced.run("pace", "--json").json["databases"]
    assert (found["override"], found["windows"][0]["profile"]) == ({"profile": "night"}, "night")
    ran = paced.run("pace", "app", "set", "profile=nite")
    assert (ran.code, "no profile 'nite'; declared are: night" in ran.err) == (2, True), ran.err


def test_what_was_set_is_told_as_json(paced: Shop) -> None:
    assert paced.run("pace", "app", "set", "most=900", "--reason", "release", "--json").json["databases"][0][
        "override"
    ] == {"most": 900.0}
    assert paced.run("pace", "app", "clear", "--json").json["databases"][0]["override"] == {}


def test_who_sets_something_within_closed_hours_is_told_of_them(paced: Shop) -> None:
    """It was said that nodes follow, and nothing ran."""
    windows = [{"when": "00:00-24:00", "closed": True}]
    paced.databases["app"]["pace"]["windows"] = windows
    paced.write()
    said = paced.run("pace", "app", "set", "pause=false").out
    assert "00:00-24:00 (UTC): closed: nothing runs until they are over, whatever is set" in said
    windows.append({"when": "00:00-24:00", "most": 900})
    paced.write()
    assert "closed" not in paced.run("pace", "app", "set", "pause=false").out, "the later one wins"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["app", "set"], "name a database and settings"),
        (["app", "clear", "most=1"], "name a database and settings"),
        (["app", "set", "most"], "NAME=VALUE"),
        (["app", "set", "most=much"], "most"),
        (["app", "set", "least=-1"], "least"),
        (["app", "set", "least=2", "most=1"], "`least` = 2 is more than `most` = 1"),
        (["app", "set", "least=1001"], "`least` = 1001 is more than `most` = 1000"),
        (["app", "set", "most=inf"], "most: Input should be a finite number"),
        (["app", "set", "most=1", "--for", "0s"], "say how long"),
        (["app", "clear", "--for", "5m"], "--for belongs to `set` and `trial`"),
        (["app", "set", "speed=1"], "unknown key 'speed'"),
        (["app", "set", "most=1", "--for", "soon"], "--for"),
        (["elsewhere"], "no database 'elsewhere'; known: app\n"),
        (["app", "trial"], "begin a run first"),
    ],
)
def test_what_is_refused(paced: Shop, arguments: list[str], words: str) -> None:
    ran = paced.run("pace", *arguments)
    assert (ran.code, words in ran.err) == (2, True), ran.err


def test_a_database_that_is_not_paced(shop: Shop) -> None:
    for arguments in ((), ("app",), ("app", "set", "most=1")):
        ran = shop.run("pace", *arguments)
        assert (ran.code, "protect" in ran.err) == (2, True)


def test_every_figure_has_its_reason() -> None:
    told = {
        **{"mode": "degraded", "since_s": 130, "reason": "lag 3", "ours": False, "floor": 0.05, "ceiling": 0.8},
        **{"most": 4, "next_s": 3.4, "slowed": 0.33, "budget": 0.4, "readings": [412, 530], "pressure": 1.2},
        **{
            "signal": "lag",
            "signals": {"lag": {"value": 3.0, "soft": 2.0, "hard": 4.0, "age_s": 0.5}},
            "credit_s": 0.012,
        },
        "lacking": {"active": "not granted"},
    }
    row = PaceRow(
        database="app",
        u=0.05,
        statement_s=0.02,
        told=told,
        override=Override(most=1, pause=True),
        unknown=("burst",),
        override_by="ann",
        override_why="",
        override_left_s=None,
        age_s=0.5,
        nodes=2,
    )
    assert drawn("app", row) == [
        "app: degraded for 2 min: lag 3 (not ours)",
        "  load      0.05 statements in flight (minimum 0.05, ceiling 0.80, most 4), of 20 ms; next change not before "
        "3 s",
        "  effect    the slowest twentieth of others is slowed by 33% (budget 40%); 412 readings with ours in flight, "
        "530 without",
        "  pressure  1.20: lag 3 (too much: 2, emergency: 4)",
        "  credit    12 ms; 2 nodes at work",
        "  set       most = 1, pause = true, burst (not known here) by ann",
        "  not available: active: not granted",
    ]


def test_a_value_that_is_too_old_to_count_is_not_shown() -> None:
    """Beside the pressure of its absence there was the last good reading."""
    health = worst({"canary, ms": Signal(value=7.64, at=0.0)}, {"canary, ms": CANARY_MARK}, STALE_AFTER_S + 1, 0.0)
    assert (health.pressure, health.value) == (STALE, None)
    told = {
        **{"mode": "recovery", "since_s": 1, "reason": health.words, "ours": None, "floor": 0.05, "ceiling": 0.05},
        **{"most": 4, "next_s": 0, "slowed": None, "budget": 0.4, "readings": [0, 0], "pressure": health.pressure},
        **{"signal": health.signal, "credit_s": 0.0, "lacking": {}},
        "signals": {"canary, ms": {"value": 7.64, "soft": 200.0, "hard": 450.0, "age_s": STALE_AFTER_S + 1}},
    }
    row = PaceRow(
        **{"database": "app", "u": 0.05, "statement_s": 0.02, "told": told, "override": Override(), "unknown": ()},
        **{"override_by": "", "override_why": "", "override_left_s": None, "age_s": 0.5, "nodes": 1},  # type: ignore[arg-type]
    )
    assert "  pressure  1.20: canary, ms not to be had" in drawn("app", row)


def test_without_any_signal_the_pressure_is_not_known(paced: Shop) -> None:
    """A file of DuckDB has no signals of its own: its pressure was told as 0."""
    assert paced.run("check", "p").code == 0
    (found,) = paced.run("pace", "--json").json["databases"]
    told = {**found["told"], "signals": {}, "signal": "", "pressure": None}
    row = PaceRow(
        **{"database": "app", "u": 0.05, "statement_s": 0.02, "told": told, "override": Override(), "unknown": ()},
        **{"override_by": "", "override_why": "", "override_left_s": None, "age_s": 0.5, "nodes": 1},  # type: ignore[arg-type]
    )
    assert "  pressure  not known: none of its signals is to be had" in drawn("app", row)


def test_what_a_screen_is_too_narrow_for_goes_on_where_the_words_begin() -> None:
    line = "  effect    not known yet: 12 readings with ours in flight, 30 without"
    assert folded(["app: normal", line], 50) == [
        "app: normal",
        "  effect    not known yet: 12 readings with ours",
        "            in flight, 30 without",
    ]
    assert folded([line], 100) == [line]
