"""Credit, turns, shares, grants and hours: each keeps what it promises."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.core.pace.credit import REST_FROM, REST_S, Bucket, StatementSize, charged, refilled, rest_s, wait_s, workers
from trueup.core.pace.effective import effective
from trueup.core.pace.said import Understood, understood
from trueup.core.pace.settings import Override, Pace, Profile, Window
from trueup.core.pace.sharing import GRANT_S, USED, Demand, Grant, Turn, granted, joined, next_turn, served, shares
from trueup.core.pace.windows import parse_hours

NO_REST = 5.0


def test_credit_makes_rests_by_itself_and_they_end_when_more_is_permitted() -> None:
    bucket = charged(Bucket(), 0.1, 0.0, 0.02)
    assert wait_s(bucket, 0.1, 0, NO_REST) == pytest.approx(0.2, rel=1e-3)
    assert wait_s(bucket, 1.0, 0, NO_REST) == pytest.approx(0.02, rel=1e-3)
    assert wait_s(Bucket(credit=0.01), 0.1, 1, NO_REST) is None  # one is in flight, and one may be
    assert [workers(u) for u in (0, 0.05, 1.0, 1.01, 3.5)] == [0, 1, 1, 2, 4]


def test_everybody_rests_at_the_same_time_of_the_databases_clock_from_half_a_statement_on() -> None:
    assert rest_s(REST_FROM, 1000.1) == pytest.approx(REST_S - 0.1)
    assert rest_s(REST_FROM, 1000.0 + REST_S) == 0
    assert rest_s(REST_FROM - 0.01, 1000.1) == 0


def test_a_statement_comes_to_take_what_it_should() -> None:
    size = StatementSize(100)
    for _ in range(40):
        amount = size.amount
        size.took(amount, 0.001 + amount / 1_000_000, 0.02)
    assert size.amount == pytest.approx(19_000, rel=0.1)
    before = size.amount
    size.took(before, 5.0, 0.02)
    assert size.amount >= before * 0.5 - 1  # one slow statement halves it at most


def test_a_statement_does_not_shrink_to_nothing_where_all_of_them_are_slow() -> None:
    size = StatementSize(10_000)
    for _ in range(30):
        size.took(size.amount, 0.002 + size.amount / 1_000_000, 0.02)
    best = size.amount
    for _ in range(60):
        size.took(size.amount, 0.1 + size.amount / 1_000_000, 0.02)  # waits for a core, whatever is asked
    assert size.amount > best / 6


@given(
    st.floats(0, 4),
    st.lists(st.tuples(st.floats(0, 3), st.sampled_from([0.5, 1.0, 2.0, 5.0])), min_size=1, max_size=6),
)
def test_shares_are_fair_whole_and_of_any_order(total: float, wants: list[tuple[float, float]]) -> None:
    demands = [Demand(who=str(at), wants=want, weight=weight) for at, (want, weight) in enumerate(wants)]
    found = shares(total, demands)
    assert sum(found.values()) <= total + 1e-9
    assert all(found[d.who] <= d.wants + 1e-9 for d in demands)
    assert sum(found.values()) >= min(total, sum(d.wants for d in demands)) - 1e-6
    assert shares(total, demands[::-1]) == pytest.approx(found)


@pytest.mark.parametrize("seed", range(8))
def test_grants_of_nodes_that_crash_and_renew_late_never_exceed_the_budget(seed: int) -> None:
    chance, total, now = random.Random(seed), 4.0, 0.0
    table: dict[str, Grant] = {}
    using: dict[str, tuple[float, float]] = {}
    nodes = {f"n{at}": [True, chance.random() * 2, chance.random() * 4] for at in range(4)}
    for _ in range(1500):
        now += 0.1
        for who, node in nodes.items():
            if chance.random() < 0.002:
                node[0] = not node[0]
            if chance.random() < 0.01:
                node[2] = chance.choice([0.0, chance.random() * 4])
            if node[0] and now >= node[1]:
                node[1] = now + chance.uniform(1.5, 2.5)
                if chance.random() < 0.1:
                    continue  # the ledger was not to be reached this time
                table[who] = granted(total, table, Demand(who=who, wants=node[2]), now)
                using[who] = (table[who].u, now + GRANT_S * USED)
        assert sum(u for u, until in using.values() if until > now) <= total + 1e-9


def test_what_holds_longer_than_is_ever_granted_is_of_before_a_clock_was_set_back() -> None:
    """For an hour nobody else got what a killed node had been granted then."""
    hour = 3600.0
    killed = granted(1.0, {}, Demand(who="a", wants=4), hour)
    assert granted(1.0, {"a": killed}, Demand(who="b", wants=4), 1.0).u == 1.0
    assert granted(1.0, {"a": killed}, Demand(who="b", wants=4), hour).u == 0.0, "the control"


def test_all_rest_where_all_together_are_half_a_statement() -> None:
    """Two nodes of 0.4 each never rested, so that the database was never seen without them."""
    assert wait_s(Bucket(credit=1), 0.4, 0, 1000.1, 0.8) == pytest.approx(REST_S - 0.1)
    assert wait_s(Bucket(credit=1), 0.4, 0, 1000.1) == 0.0, "the control"


def test_turns_follow_weights_whatever_a_statement_costs() -> None:
    chance, now = random.Random(3), 0.0
    turns = {t.who: t for t in (Turn(who="a"), Turn(who="b", weight=2.0), Turn(who="c"))}
    had = dict.fromkeys(turns, 0.0)
    for _ in range(20_000):
        who = next_turn(list(turns.values()), now).who
        cost = 1.0 if who == "c" else chance.choice([0.05, 0.1, 0.4])
        now += cost
        had[who] += cost
        turns[who] = served(turns[who], cost, now)
    whole = sum(had.values())
    assert [round(had[who] / whole, 2) for who in "abc"] == [0.25, 0.5, 0.25]


def test_bulk_is_last_and_still_not_starved() -> None:
    turns = {t.who: t for t in (Turn(who="k", priority="critical"), Turn(who="z", priority="bulk"))}
    now = longest = last = 0.0
    for _ in range(5000):
        who = next_turn(list(turns.values()), now).who
        now += 0.1
        turns[who] = served(turns[who], 0.1, now)
        if who == "z":
            longest, last = max(longest, now - last), now
    assert 59 < longest < 61


def test_who_comes_late_does_not_make_up_for_it() -> None:
    old = Turn(who="a", had=500.0)
    assert joined(Turn(who="b"), [old], 9.0).had == pytest.approx(499.5)
    assert joined(Turn(who="b"), [], 9.0).had == 0


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("Mon-Fri 08:00-18:00", [(23, 8, 0), (27, 17, 59)], [(23, 7, 59), (27, 18, 0), (28, 12, 0)]),
        ("Sat,Sun", [(28, 0, 0), (29, 23, 59)], [(27, 23, 59), (30, 0, 0)]),
        ("22:00-06:00", [(23, 22, 0), (24, 5, 59)], [(23, 21, 59), (24, 6, 0)]),
        ("Fri 22:00-06:00", [(27, 23, 0), (28, 5, 0)], [(28, 23, 0), (27, 5, 0)]),
        ("Fri-Mon 00:00-24:00", [(27, 0, 0), (30, 23, 59)], [(26, 12, 0), (24, 12, 0)]),
    ],
)
def test_hours(text: str, inside: list[tuple[int, int, int]], outside: list[tuple[int, int, int]]) -> None:
    hours = parse_hours(text)  # November 2026: the 23rd is a Monday
    for holds, moments in ((True, inside), (False, outside)):
        for day, hour, minute in moments:
            assert hours.hold(datetime(2026, 11, day, hour, minute, tzinfo=BERLIN)) is holds, (day, hour, minute)


@pytest.mark.parametrize("text", ["", "Mon Fri", "08:00", "25:00-26:00", "08:00-18:60", "Mo 08:00-09:00", "Mon-"])
def test_what_are_no_hours(text: str) -> None:
    if text == "Mon-":
        assert parse_hours(text).days == {0}
    else:
        with pytest.raises(ValueError, match=r"hours|days|day has"):
            parse_hours(text)


def test_windows_then_people_decide_what_holds() -> None:
    pace = Pace.model_validate(
        {
            "timezone": "Europe/Berlin",
            "windows": [{"when": "Sat,Sun", "protect": "50%", "most": 8}, {"when": "Sun 03:00-04:00", "closed": True}],
        }
    )
    monday = datetime(2026, 11, 23, 12, tzinfo=UTC)
    sunday = datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert effective(pace, 0.1, Override(), monday).protect == 0.1
    most = [effective(pace, 0.1, Override(), monday, cores).limits.most for cores in (None, 1, 2, 16)]
    assert most == [4, 1, 1, 15]  # one core stays free
    assert effective(pace, 0.1, Override(pause=True), monday).limits.paused
    free = effective(pace, 0.1, Override(), sunday)
    assert (free.protect, free.limits.most, free.limits.paused) == (0.5, 8, "")
    assert effective(pace, 0.1, Override(most=1.0), sunday).limits.most == 1.0
    closed = effective(pace, 0.1, Override(), datetime(2026, 11, 29, 2, 30, tzinfo=UTC))
    assert "closed" in closed.limits.paused
    assert effective(pace, 0.1, Override.model_validate({"adaptive": "false"}), monday).limits.fixed == 0.25
    assert effective(pace, 0.1, Override.model_validate({"statement": "100ms"}), monday).statement_s == 0.1


def test_profiles_hold_in_windows_and_for_people() -> None:
    pace = Pace.model_validate(
        {
            "most": 2,
            "profiles": {
                "night": {"protect": "40%", "most": 3, "statement": "80ms"},
                "calm": {"adaptive": False, "fixed": 5},
                "swift": {"adaptive": False, "fixed": 5, "most": 6},
                "low": {"most": 0.5, "least": 0.01},
            },
            "windows": [{"when": "22:00-06:00", "profile": "night", "most": 4}],
        }
    )
    noon, night = (datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in (12, 23))
    found = effective(pace, 0.1, Override(), night)
    assert (found.protect, found.limits.most, found.statement_s) == (0.4, 4, 0.08)  # beside the profile: most
    found = effective(pace, 0.1, Override(profile="night", protect=0.2), noon)
    assert (found.protect, found.limits.most) == (0.2, 3)
    found = effective(pace, 0.1, Override(profile="low"), night)
    assert (found.protect, found.limits.most, found.limits.least) == (0.4, 0.5, 0.01)
    found = effective(pace, 0.1, Override(profile="calm"), noon)
    assert (found.limits.fixed, found.limits.most) == (5, 2)  # what is declared to be the most is
    assert effective(pace, 0.1, Override(profile="calm", most=1), noon).limits.most == 1
    assert effective(pace, 0.1, Override(profile="swift"), noon).limits.most == 6


def test_a_fixed_load_goes_beyond_a_ceiling_that_nobody_has_set_and_beyond_no_other() -> None:
    """`fixed = 2` beside `most = 0.5` was two statements in flight."""
    noon, fixed = datetime(2026, 11, 23, 12, tzinfo=UTC), {"adaptive": False, "fixed": 2}
    declared: list[tuple[dict[str, object], dict[str, object]]] = [
        ({**fixed, "most": 0.5}, {}),
        ({**fixed, "windows": [{"when": "00:00-24:00", "most": 0.5}]}, {}),
        ({"profiles": {"low": {"most": 0.5}}, "windows": [{"when": "00:00-24:00", "profile": "low"}]}, fixed),
        ({"most": 0.5}, fixed),
        (fixed, {"most": 0.5}),
        ({"most": 3, "profiles": {"calm": fixed}}, {"profile": "calm", "most": 0.5}),
    ]
    for pace, override in declared:
        limits = effective(Pace.model_validate(pace), 0.1, Override.model_validate(override), noon, cores=2).limits
        assert (limits.fixed, limits.most) == (2, 0.5), (pace, override)
    for pace, override in ((fixed, {}), ({}, fixed), ({"profiles": {"calm": fixed}}, {"profile": "calm"})):
        limits = effective(Pace.model_validate(pace), 0.1, Override.model_validate(override), noon, cores=2).limits
        assert (limits.fixed, limits.most) == (2, 2), (pace, override)


def test_what_a_profile_says_that_is_not_declared_here_is_not_known() -> None:
    """It said nothing, so that a profile that another node has declared, to hold back, held nobody back here."""
    noon, pace = datetime(2026, 11, 23, 12, tzinfo=UTC), Pace.model_validate({"profiles": {"night": {"most": 3}}})
    said = Understood(override=Override(profile="release", protect=0.2), unknown=("burst",)).among(pace.profiles)
    assert said == Understood(override=Override(protect=0.2), unknown=("burst", "profile=release"))
    for known in (Override(profile="night"), Override(most=1)):
        assert Understood(override=known).among(pace.profiles) == Understood(override=known)
    with pytest.raises(ValueError, match="no profile 'release'"):
        effective(pace, 0.1, Override(profile="release"), noon)


def test_a_window_needs_a_declared_profile() -> None:
    with pytest.raises(ValidationError, match="no profile 'nite'; declared are: night"):
        Pace.model_validate({"profiles": {"night": {}}, "windows": [{"when": "Sat", "profile": "nite"}]})


@pytest.mark.parametrize("wrong", [{"most": "-1"}, {"protect": "200%"}, {"speed": "1"}, {"statement": "soon"}])
def test_what_cannot_be_set(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Override.model_validate(wrong)


@pytest.mark.parametrize("name", ["fixed", "least", "most", "statement"])
@pytest.mark.parametrize("value", [math.inf, math.nan, "inf", "1e400", 2e9])
def test_a_number_that_cannot_be_counted_with_is_refused(name: str, value: object) -> None:
    """`fixed = inf` ended each tick with an error, and `most=inf` was kept as nothing and undid what was set before."""
    for settings in (Pace, Override, Profile, Window):
        if name in settings.model_fields:
            given = {name: value} | ({"when": "Sat"} if settings is Window else {})
            with pytest.raises(ValidationError, match=name):
                settings.model_validate(given)


def test_more_cores_than_there_are_anywhere_are_refused() -> None:
    with pytest.raises(ValidationError, match="cores"):
        Pace(cores=10**11)


def test_debt_beyond_what_a_statement_may_leave_is_forgiven() -> None:
    """So one that took long is followed by five seconds of rest at the minimum, however long it took."""
    for took_s, rest in ((0.1, 2.0), (1.0, 5.0), (30.0, 5.0)):
        bucket = refilled(charged(Bucket(), 0.05, 0.0, took_s), 0.05, 0.0)
        assert wait_s(bucket, 0.05, 0, NO_REST) == pytest.approx(rest, rel=1e-3)


@pytest.mark.parametrize(
    ("text", "said", "unknown"),
    [
        ('{"most": 1.0, "pause": true}', Override(most=1.0, pause=True), ()),
        ('{"most": 1.0, "burst": 2, "calm": null}', Override(most=1.0), ("burst", "calm")),
        ('{"most": {"from": 1, "to": 2}, "pause": true}', Override(pause=True), ("most",)),
        ("[1]", Override(), ("all of it",)),
        ("burst=2", Override(), ("all of it",)),
        ("", Override(), ("all of it",)),
    ],
)
def test_of_what_a_newer_version_has_set_the_rest_is_understood(
    text: str, said: Override, unknown: tuple[str, ...]
) -> None:
    assert understood(text) == Understood(override=said, unknown=unknown)


@pytest.mark.parametrize(
    "override", [Override(), Override(most=3, least=2), Override(adaptive=False, fixed=2), Override(most=0.01)]
)
def test_what_is_not_known_permits_no_more_than_the_minimum(override: Override) -> None:
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    limits = effective(Pace(), 0.1, override, noon, unknown=("burst",)).limits
    assert (limits.least, limits.most) == (min(0.05, override.most or 1),) * 2
    assert limits.fixed == (0.05 if override.adaptive is False else None)
    assert effective(Pace(), 0.1, Override(pause=True), noon, unknown=("burst",)).limits.paused


@pytest.mark.parametrize(
    ("declared", "where"),
    [
        ({"least": 3, "most": 2}, ""),
        ({"most": 2, "profiles": {"fast": {"least": 3}}}, "profiles.fast: "),
        ({"profiles": {"fast": {"least": 3, "most": 2}}}, "profiles.fast: "),
    ],
)
def test_a_minimum_is_within_the_ceiling_beside_it(declared: dict[str, Any], where: str) -> None:
    """It was the ceiling, and nobody was told."""
    with pytest.raises(ValidationError, match=f"{where}`least` = 3 is more than `most` = 2"):
        Pace.model_validate(declared)


def test_a_low_ceiling_lowers_a_minimum_that_nobody_declared_beside_it() -> None:
    declared = {"most": 0.01, "profiles": {"low": {"most": 0.001}, "own": {"least": 3, "most": 4}}}
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert effective(Pace.model_validate(declared), 0.1, Override(), moment).limits.least == 0.01
