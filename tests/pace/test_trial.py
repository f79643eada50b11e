"""Two settings in turn: what the others feel under each is told apart, and what was set before holds again."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pace.stepped import SteppedClock
from trueup import Projection, Side, Trueup
from trueup.adapters import Looked
from trueup.cli.pace import _try, drawn_trial
from trueup.core.pace.settings import Override
from trueup.core.pace.sharing import Demand
from trueup.core.projection import Database
from trueup.errors import Interrupted, Refused, Transient, UsageError
from trueup.pace.trial import FOLLOW_S, Trial, alternate
from trueup.store.paces import Report
from trueup.views_serving import pace

SIDE = Side(database="app", table="t")
PROJECTION = Projection(name="p", source=SIDE, target=SIDE, key=["id"])


class Probe:
    """A database in which ours double what a reading takes, and which gets slower all the time by itself."""

    def __init__(self, clock: SteppedClock) -> None:
        self.clock, self.ours, self.broken = clock, True, False

    def canary(self) -> None:
        if self.broken:
            raise Transient("no connection")
        self.clock.pass_((0.001 + self.clock.at_s * 1e-6) * (2 if self.ours else 1))

    def look(self) -> Looked:
        rate = 80 if self.ours else 100
        return Looked(values={}, own=0.5 if self.ours else 0.0, transactions=self.clock.at_s * rate)

    def close(self) -> None: ...


def test_what_the_others_feel_is_told_apart_from_what_changes_meanwhile() -> None:
    clock = SteppedClock()
    probe = Probe(clock)
    order: list[bool] = []

    def switch(other: bool) -> None:
        order.append(other)
        probe.ours = not other

    begun = clock.at_s
    here, there = alternate(probe, clock, switch, rounds=4, part_s=10)  # type: ignore[arg-type]
    assert order == [False, True, True, False, False, True, True, False]
    assert clock.at_s - begun == pytest.approx(8 * (10 + FOLLOW_S), rel=0.02)
    told = Trial(database="app", instead="pause=true", part_s=10, as_it_is=here, other=there).to_dict()
    assert told["slowed"]["p95"] == pytest.approx(2, rel=0.02)
    assert told["as_it_is"]["in_flight"] == 0.5
    assert told["instead"]["in_flight"] == 0
    assert told["instead"]["commits_per_s"] == pytest.approx(100, rel=0.01)
    assert len(told["slowed_by_round"]["p95"]) == 4
    assert told["commits_by_round"] == pytest.approx([0.8] * 4, rel=0.01)
    assert told["certainty"] == 0.875  # one in eight: all four rounds err to the same side
    lines = drawn_trial(Trial(database="app", instead="pause=true", part_s=10, as_it_is=here, other=there))
    assert "x 0.80, 0.80 to 0.80" in lines[3]
    assert "4 rounds holds the ratio with 88% certainty" in lines[-1]


def test_a_reading_is_as_many_round_trips_as_the_governors() -> None:
    clock = SteppedClock()
    one, three = (
        alternate(Probe(clock), clock, lambda _: None, rounds=1, part_s=10, trips=trips)[0][0]  # type: ignore[arg-type]
        for trips in (1, 3)
    )
    assert three.quantile(0.5) == pytest.approx(3 * one.quantile(0.5), rel=0.05)  # it gets slower by itself


def test_a_round_in_which_nobody_was_at_work_any_more_is_told() -> None:
    """A run that ended meanwhile looked like one that costs nothing."""
    clock = SteppedClock()
    ends = clock.at_s + 40
    here, there = alternate(
        Probe(clock),  # type: ignore[arg-type]
        clock,
        lambda _: None,
        rounds=3,
        part_s=10,
        at_work=lambda: clock.at_s < ends,
    )
    trial = Trial(database="app", instead="pause=true", part_s=10, as_it_is=here, other=there)
    assert trial.to_dict()["at_work_by_round"] == [True, False, False]
    assert "In 2 of 3 rounds nobody was at work any more" in drawn_trial(trial)[-1]
    assert "nobody" not in drawn_trial(replace(trial, as_it_is=here[:1], other=there[:1]))[-1]


def test_a_part_has_a_reading_however_short_it_is() -> None:
    clock = SteppedClock()
    probe = Probe(clock)
    look = probe.look

    def slow() -> Looked:
        clock.pass_(1.0)
        return look()

    probe.look = slow  # type: ignore[method-assign]
    here, there = alternate(probe, clock, lambda _: None, rounds=1, part_s=0.5)  # type: ignore[arg-type]
    told = Trial(database="app", instead="pause=true", part_s=0.5, as_it_is=here, other=there).to_dict()
    assert told["as_it_is"]["readings"] == told["instead"]["readings"] == 1


def test_a_count_that_goes_back_is_not_told() -> None:
    """The transactions of a server are those of its databases, and one of them was dropped."""
    clock = SteppedClock()
    probe = Probe(clock)
    looks, look = iter(range(10**6)), probe.look

    def dropped() -> Looked:
        told = look()
        return replace(told, transactions=(told.transactions or 0.0) - (1e6 if next(looks) > 5 else 0.0))

    probe.look = dropped  # type: ignore[method-assign]
    here, there = alternate(probe, clock, lambda _: None, rounds=2, part_s=10)  # type: ignore[arg-type]
    trial = Trial(database="app", instead="pause=true", part_s=10, as_it_is=here, other=there)
    assert trial.to_dict()["as_it_is"]["commits_per_s"] is None
    assert trial.commits() == []
    assert "not told" in drawn_trial(trial)[3]


def test_it_ends_when_it_is_interrupted() -> None:
    clock = SteppedClock()
    clock.meanwhile = [lambda: None] * 20 + [clock.interrupt]
    with pytest.raises(Interrupted):
        alternate(Probe(clock), clock, lambda _: None, rounds=1, part_s=10)  # type: ignore[arg-type]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Trueup]:
    app = Database.model_validate({"url": f"sqlite:///{tmp_path / 'app.db'}", "protect": "10%"})
    (tmp_path / "app.db").touch()
    ledger, clock = f"sqlite:///{tmp_path / 'ledger.db'}", SteppedClock()
    with Trueup(databases={"app": app}, projections=[PROJECTION], ledger=ledger, clock=clock) as made:
        yield made


def at_work(engine: Trueup) -> None:
    engine.paces.renew("app", Demand(who="node", wants=1.0), Report(u=0.5, statement_s=0.02, state={}, told={}))


def test_nobody_at_work_is_nothing_to_try(engine: Trueup) -> None:
    with pytest.raises(UsageError, match="begin a run first"):
        engine.try_pace("app")


def test_a_trial_of_nothing_is_refused(engine: Trueup) -> None:
    at_work(engine)
    for asked in ({"rounds": 0}, {"part_s": 0.0}):
        with pytest.raises(UsageError, match="at least one round"):
            engine.try_pace("app", **asked)


def test_settings_for_no_time_are_refused_and_leave_what_was_set(engine: Trueup) -> None:
    """They held for no time, and what had been set before was gone."""
    engine.set_pace("app", reason="sale", most=0.5)
    for none in (0.0, -1.0, math.nan):
        with pytest.raises(UsageError, match="say how long"):
            engine.set_pace("app", for_s=none, most=1)
    row = engine.paces.find("app")
    assert row is not None
    assert row.override == Override(most=0.5)


def test_a_trial_for_no_time_is_refused_and_not_of_ten_seconds(engine: Trueup) -> None:
    at_work(engine)
    with pytest.raises(UsageError, match="its parts take some time"):
        _try(engine, "app", (), "", "0s", 1, as_json=False)


def test_what_is_set_and_not_known_here_is_shown_and_would_not_be_put_back(engine: Trueup) -> None:
    at_work(engine)
    profile = Override(profile="release", most=0.5)
    engine.paces.set("app", profile, by=engine.actor, why="", for_s=None)  # by a node on which it is declared
    with pytest.raises(Refused, match=r"not all known here \(profile=release\)"):
        engine.try_pace("app")
    shown = pace(engine, "app")
    assert (shown["override"], shown["override_unknown"]) == ({"most": 0.5}, ["profile=release"])


@pytest.mark.parametrize("broken", [False, True])
def test_what_was_set_before_holds_again(engine: Trueup, monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    at_work(engine)
    engine.set_pace("app", reason="sale", most=0.5)
    probe = Probe(engine.clock)  # type: ignore[arg-type]
    held: list[Override] = []
    monkeypatch.setattr(engine._adapter("app"), "probe", lambda _canary: probe)
    canary, probe.broken = probe.canary, broken

    def read() -> None:
        row = engine.paces.find("app")
        assert row is not None
        held.append(row.override)
        canary()

    probe.canary = read  # type: ignore[method-assign]
    with pytest.raises(Transient) if broken else contextlib.nullcontext():
        engine.try_pace("app", rounds=1, part_s=0.2, adaptive=False)
    assert Override(most=0.5) in held
    assert (Override(adaptive=False) in held) is not broken
    row = engine.paces.find("app")
    assert row is not None
    assert (row.override, row.override_why) == (Override(most=0.5), "sale")


def test_what_was_set_before_ends_when_it_would_have(engine: Trueup, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each turn of the trial began its time anew."""
    at_work(engine)
    engine.set_pace("app", reason="sale", for_s=1000, most=0.5)
    monkeypatch.setattr(engine._adapter("app"), "probe", lambda _canary: Probe(engine.clock))  # type: ignore[arg-type]
    engine.try_pace("app", rounds=2, part_s=10)
    row = engine.paces.find("app")
    assert row is not None
    assert row.override == Override(most=0.5)
    assert row.override_left_s == pytest.approx(1000 - 2 * 2 * (10 + FOLLOW_S), abs=5)


def test_what_somebody_sets_during_a_trial_holds_and_ends_it(engine: Trueup, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next turn of the trial undid it, were it a pause in an emergency."""
    at_work(engine)
    probe = Probe(engine.clock)  # type: ignore[arg-type]
    canary, readings = probe.canary, iter(range(10**6))

    def read() -> None:
        if next(readings) == 3:
            engine.set_pace("app", reason="the site is down", pause=True)
        canary()

    probe.canary = read  # type: ignore[method-assign]
    monkeypatch.setattr(engine._adapter("app"), "probe", lambda _canary: probe)
    with pytest.raises(Refused, match="has set other settings meanwhile"):
        engine.try_pace("app", rounds=2, part_s=0.2, most=0.5)
    row = engine.paces.find("app")
    assert row is not None
    assert (row.override, row.override_why) == (Override(pause=True), "the site is down")
