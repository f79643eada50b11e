"""Causes: one that was planted is found with its share, and noise has none."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.values import values
from trueup.core.causes import Cause, causes
from trueup.core.compare import DriftKind, Suspect
from trueup.core.where import ROWS_MIN, Known, Place

Plant = Callable[[random.Random, int], Suspect]

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
WORDS = ("café", "naïve", "Zoë", "Ångström", "Straße", "señor")


def different(key: tuple[Any, ...], expected: Any, observed: Any) -> Suspect:
    return Suspect(kind=DriftKind.DIFFERENT, key=key, expected=(expected,), observed=(observed,))


def missing(key: tuple[Any, ...], value: Any = 1) -> Suspect:
    return Suspect(kind=DriftKind.MISSING, key=key, expected=(value,), observed=None)


def extra(key: tuple[Any, ...], value: Any = 1) -> Suspect:
    return Suspect(kind=DriftKind.EXTRA, key=key, expected=None, observed=(value,))


def found(rows: list[Suspect], key: tuple[str, ...] = ("id",), **more: Any) -> dict[str, Cause]:
    return {cause.kind: cause for cause in causes(rows, key=key, columns=("n",), **more)}


def number(rng: random.Random) -> int:
    return rng.randint(1_000, 10_000_000)


def sparse(at: int) -> tuple[int]:
    """Keys that do not follow one another."""
    return (at * 7 + 1,)


def pair(change: Callable[[Any], Any], make: Callable[[random.Random], Any] = number) -> Plant:
    def plant(rng: random.Random, at: int) -> Suspect:
        expected = make(rng)
        return different(sparse(at), expected, change(expected))

    return plant


def text(rng: random.Random) -> str:
    return f"{rng.choice(WORDS)} {rng.getrandbits(40):x}"


def noise(rng: random.Random, at: int) -> Suspect:
    """Rows that have nothing in common: amounts to both sides, some missing, some extra."""
    expected, observed = number(rng), number(rng)
    return rng.choice(
        (
            different(sparse(at), expected, observed if observed != expected else -7),
            different(sparse(at), expected, expected + rng.choice((-1, 1)) * rng.randint(1, 900)),
            missing(sparse(at), expected),
            extra(sparse(at), observed),
        )
    )


def noise_in_text(rng: random.Random, at: int) -> Suspect:
    return different(sparse(at), text(rng), text(rng))


PLANTS: dict[str, tuple[str, Plant]] = {
    "one too many": ("offset", pair(lambda n: n + 1)),
    "one too few": ("offset", pair(lambda n: n - 1)),
    "a decimal amount": ("offset", pair(lambda n: n + Decimal("0.10"), lambda r: Decimal(number(r)) / 100)),
    "a float amount": ("offset", pair(lambda n: n + 0.25, lambda r: float(number(r)))),
    "twice": ("doubled", pair(lambda n: n * 2)),
    "sign": ("sign", pair(lambda n: -n)),
    "rounded": (
        "rounded",
        pair(lambda n: n.quantize(Decimal("0.1")), lambda r: Decimal(number(r) * 10 + 7) / 10000),
    ),
    "NULL": ("null", pair(lambda n: None)),
    "not NULL": ("not_null", pair(lambda n: 5, lambda r: None)),
    "cut": ("truncated", pair(lambda s: s[:9], text)),
    "empty": ("empty", pair(lambda s: "", text)),
    "case": ("case", pair(str.upper, lambda r: f"x{r.getrandbits(60):x}y")),
    "trailing blanks": ("blanks", pair(lambda s: s + "  ", text)),
    "NFD": ("unicode_form", pair(lambda s: unicodedata.normalize("NFD", s), lambda r: f"é{text(r)}")),
    "entities": ("html", pair(lambda s: s.replace("&", "&amp;"), lambda r: f"{text(r)} & co")),
    "accents": ("accents", pair(lambda s: s.replace("é", "e"), lambda r: f"é {r.getrandbits(60):x}")),
    "zone": ("time_zone", pair(lambda t: t + timedelta(hours=2), lambda r: NOON + timedelta(seconds=number(r)))),
    "days": ("offset", pair(lambda t: t - timedelta(1), lambda r: (NOON + timedelta(days=r.randint(1, 9000))).date())),
}


@pytest.mark.parametrize(("kind", "plant"), PLANTS.values(), ids=PLANTS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.integers(50, 100), total=st.integers(40, 200))
def test_a_planted_cause_is_found_with_its_share(kind: str, plant: Plant, seed: int, share: int, total: int) -> None:
    rng = random.Random(seed)
    planted = total * share // 100
    rows = [plant(rng, at) if at < planted else noise(rng, at) for at in range(total)]
    rng.shuffle(rows)
    told = found(rows)
    assert kind in told, told
    # Noise may meet the mark now and then, and never takes a row away.
    assert planted <= told[kind].rows <= planted + 2
    assert told[kind].share == pytest.approx(told[kind].rows / total, abs=1e-4)
    assert f"{told[kind].rows:,}" in told[kind].sentence
    if planted < total:
        rest = told["none"]
        assert rest.sentence.endswith("no common cause")
        assert rest.rows <= total - planted


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), total=st.integers(1, 300), make=st.sampled_from([noise, noise_in_text]))
def test_noise_has_no_cause(seed: int, total: int, make: Plant) -> None:
    rng = random.Random(seed)
    assert causes([make(rng, at) for at in range(total)], key=["id"], columns=["n"]) == []


@pytest.mark.parametrize("rows", [ROWS_MIN - 1, ROWS_MIN])
def test_a_handful_of_rows_is_no_cause(rows: int) -> None:
    told = found([different(sparse(at), at * 10, at * 10 + 1) for at in range(rows)])
    assert bool(told) is (rows == ROWS_MIN)


def test_two_causes_largest_first_and_the_rest() -> None:
    rng = random.Random(1)
    rows = [PLANTS["twice"][1](rng, at) for at in range(50)]
    rows += [PLANTS["NULL"][1](rng, at) for at in range(50, 80)]
    rows += [different(sparse(at), number(rng), number(rng)) for at in range(80, 90)]
    told = causes(rows, key=["id"], columns=["n"])
    assert [(cause.kind, cause.rows) for cause in told] == [("doubled", 50), ("null", 30), ("none", 10)]
    assert told[0].sentence == "50 of 90 rows (56%): `n` is twice what it should be"
    assert told[1].sentence == "30 of 90 rows (33%): `n` is NULL instead of a value"


def test_the_simpler_of_two_that_say_the_same() -> None:
    told = causes([different(sparse(at), 1, 2) for at in range(20)], key=["id"], columns=["n"])
    assert [cause.sentence for cause in told] == ["all 20 rows: `n` is exactly 1 too high"]


# --- where the rows are ----------------------------------------------------------------------------------------------


def test_always_too_high() -> None:
    rng = random.Random(2)
    rows = [different(sparse(at), n := number(rng), n + number(rng)) for at in range(30)]
    assert [cause.kind for cause in causes(rows, key=["id"], columns=["n"])] == ["high"]
    low = [different(row.key, *(row.observed or ()), *(row.expected or ())) for row in rows]
    assert [cause.kind for cause in causes(low, key=["id"], columns=["n"])] == ["low"]
    both = rows[:15] + low[15:]
    assert causes(both, key=["id"], columns=["n"]) == []


@pytest.mark.parametrize("make", [missing, extra])
def test_one_kind_only(make: Callable[..., Suspect]) -> None:
    told = found([make(sparse(at)) for at in range(30)])
    (only,) = told.values()
    assert (only.kind, only.rows) == (make.__name__, 30)


def test_one_tenant() -> None:
    rng = random.Random(3)
    rows = [different((7 if at < 60 else 100 + at, at * 3), number(rng), number(rng)) for at in range(100)]
    told = found(rows, key=("tenant", "id"))
    assert told["key_value"].sentence == "60 of 100 rows (60%): `tenant` is 7"
    evenly = [different((at % 10, at * 3), number(rng), number(rng)) for at in range(100)]
    assert found(evenly, key=("tenant", "id")) == {}


@pytest.mark.parametrize(("step", "kind"), [(timedelta(seconds=30), "hour"), (timedelta(minutes=9), "day")])
def test_one_hour_or_day_only(step: timedelta, kind: str) -> None:
    start = NOON.replace(hour=9, minute=0)
    rows = [missing((start + at * step,)) for at in range(80)] + [
        extra((start - timedelta(days=at),)) for at in range(2, 40)
    ]
    told = found(rows, key=("at",))
    assert told[kind].rows == 80
    place = "in the hour of 2026-03-04 09:00 UTC" if kind == "hour" else "on 2026-03-04 UTC"
    assert told[kind].sentence.endswith(f"`at` is {place}")
    unzoned = [replace(row, key=(row.key[0].replace(tzinfo=None),)) for row in rows]
    assert found(unzoned, key=("at",))[kind].sentence.endswith(place.removesuffix(" UTC"))
    spread = [noise(random.Random(at), at) for at in range(100)]
    moved = [
        missing((start + timedelta(days=at),)) if at % 2 else extra((start + timedelta(days=at),)) for at in range(100)
    ]
    assert found(moved, key=("at",)) == {}
    assert found(spread) == {}


def test_a_series_of_keys() -> None:
    rng = random.Random(4)
    rows = [different((5000 + at,), number(rng), number(rng)) for at in range(40)]
    rows += [different(sparse(at), number(rng), number(rng)) for at in range(40)]
    rng.shuffle(rows)
    assert found(rows)["key_range"].sentence == "40 of 80 rows (50%): `id` is 5000 to 5039, without a gap"


def test_one_column_only() -> None:
    rng = random.Random(5)
    rows = [
        Suspect(kind=DriftKind.DIFFERENT, key=sparse(at), expected=(at, number(rng)), observed=(at, number(rng)))
        for at in range(30)
    ]
    assert "only `b` differs" in causes(rows, key=["id"], columns=["a", "b"])[0].sentence


def test_swapped_rows() -> None:
    rng = random.Random(6)
    all_values = rng.sample(range(10**6), 40)
    rows = []
    for at, (a, b) in enumerate(pairwise(all_values)):
        if at % 2 == 0:
            rows += [different(sparse(2 * at), a, b), different(sparse(2 * at + 1), b, a)]
    assert found(rows)["swapped"].rows == 40
    assert "swapped" not in found([different(sparse(at), at % 2, 1 - at % 2) for at in range(40)])


@pytest.mark.parametrize("many", [31, 50])
def test_values_of_which_there_are_few_are_not_swapped(many: int) -> None:
    """Among a thousand rows each pair of 31 days meets its reverse by chance."""
    rng = random.Random(7)
    rows = [different(sparse(at), *rng.sample(range(many), 2)) for at in range(1_000)]
    assert "swapped" not in found(rows)


def test_one_row_is_swapped_with_one_other() -> None:
    """Many rows that became `open` are no swap because a few became `paid`."""
    rows = [different(sparse(at), "paid", "open") for at in range(40)]
    assert "swapped" not in found([*rows, different(sparse(40), "open", "paid")])


@pytest.mark.parametrize("amounts", [(1, 7), (1, -1), (1, 2, 3)])
def test_two_amounts_are_two_causes(amounts: tuple[int, ...]) -> None:
    rng = random.Random(8)
    rows = []
    for at in range(120):
        expected = number(rng)
        rows.append(different(sparse(at), expected, expected + amounts[at % len(amounts)]))
    told = causes(rows, key=["id"], columns=["n"])
    assert [(cause.kind, cause.rows) for cause in told] == [("offset", 120 // len(amounts))] * len(amounts)


def test_a_local_time_is_shifted_otherwise_in_summer() -> None:
    rng = random.Random(9)
    berlin = ZoneInfo("Europe/Berlin")
    rows = []
    for at in range(200):
        moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(365 * 86_400))
        naive, local = moment.replace(tzinfo=None), moment.astimezone(berlin).replace(tzinfo=None)
        rows.append(different(sparse(at), naive, local))
    told = causes(rows, key=["id"], columns=["n"])
    assert {cause.kind for cause in told} == {"time_zone"}
    assert sum(cause.rows for cause in told) == len(rows)
    assert {"+1 h" in cause.sentence for cause in told} == {True, False}


def test_few_values_are_the_same_amount_apart_by_chance() -> None:
    rng = random.Random(10)
    rows = [different(sparse(at), *rng.sample(range(3), 2)) for at in range(200)]
    assert "offset" not in found(rows)


@pytest.mark.parametrize(
    ("spelt", "what"),
    [
        (str.upper, "case"),
        (lambda s: s + " ", "trailing blanks"),
        (lambda s: s.replace("&", "&amp;"), "HTML entities"),
        (lambda s: s.replace("é", "e"), "accents"),
        (lambda s: unicodedata.normalize("NFD", s), "Unicode form"),
    ],
)
def test_forty_missing_and_forty_extra_are_one_cause(spelt: Callable[[str], str], what: str) -> None:
    names = [f"é & x{at:04d}y" for at in range(40)]
    rows = [missing((name,)) for name in names] + [extra((spelt(name),)) for name in names]
    told = found(rows, key=("name",))
    assert told.keys() == {"key_spelling"}
    assert "40 missing and 40 extra are one cause" in told["key_spelling"].sentence
    assert what in told["key_spelling"].sentence
    strangers = [missing((name,)) for name in names] + [extra((f"other {name}",)) for name in names]
    assert found(strangers, key=("name",)) == {}


def test_first_seen_together() -> None:
    rng = random.Random(7)
    rows = [noise(rng, at) for at in range(60)]
    moments = [NOON if at < 40 else NOON + timedelta(hours=at) for at in range(60)]
    told = found(rows, first_seen=moments)["first_seen"]
    assert told.rows == 40
    assert told.sentence.endswith("first seen at 2026-03-04 12:30 UTC")
    assert found(rows, first_seen=[NOON] * 60) == {}


# --- what must never be ----------------------------------------------------------------------------------------------


def test_nothing_of_a_sensitive_column_is_told() -> None:
    rows = [different(sparse(at), NOON, NOON + timedelta(hours=1)) for at in range(40)]
    assert found(rows)
    assert found(rows, hidden=(True,)) == {}


odd = st.one_of(
    values,
    st.sampled_from(
        [float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("1E+999999"), 10**5000, "\ud800"]
    ),
)


@given(
    st.lists(
        st.one_of(
            st.builds(lambda k, a, b: different((k, a), a, b), odd, odd, odd),
            st.builds(lambda k, a: missing((k, a), a), odd, odd),
            st.builds(lambda k, a: extra((a, k), a), odd, odd),
        ),
        min_size=ROWS_MIN,
        max_size=40,
    ),
    odd,
)
def test_odd_values_never_raise(rows: list[Suspect], same: Any) -> None:
    for some in (rows, [different((same, at), same, rows[0].key[0]) for at in range(20)]):
        for cause in causes(some, key=["a", "b"], columns=["n"]):
            assert 0 < cause.rows <= len(some)
            assert 0 < cause.share <= 1


# --- where the rows are, among all rows ------------------------------------------------------------------------------


def asked(usual: dict[str, float]) -> Callable[[Sequence[Place]], list[float | None]]:
    """Somebody who knows how usual values are, by column."""
    return lambda places: [usual.get(place.known.name) for place in places]


def tenants(of_seven: int, total: int = 100) -> list[Suspect]:
    rng = random.Random(8)
    return [different((7 if at < of_seven else 100 + at % 5, at * 3), number(rng), number(rng)) for at in range(total)]


def test_a_tenant_that_has_most_of_all_rows_is_not_told() -> None:
    """The same rows, where that tenant has few of all, and where it has as many."""
    rows, key = tenants(93), ("tenant", "id")
    few = found(rows, key=key, ask=asked({"tenant": 0.2}))["key_value"]
    assert few.sentence == "93 of 100 rows (93%): `tenant` is 7 (of all rows: 20%)"
    assert few.usual == 0.2
    assert found(rows, key=key, ask=asked({"tenant": 0.93})) == {}
    assert found(rows, key=key, ask=asked({"tenant": 0.80})) == {}  # hardly more often wrong than the others
    assert found(rows, key=key, ask=asked({"tenant": 1.0})) == {}


def test_where_nobody_knows_it_stands_out_by_itself_or_not_at_all() -> None:
    rows = tenants(60)
    assert found(rows, key=("tenant", "id"))["key_value"].usual is None
    beside = [Known(name="app", kind="value", role="target", values=dict.fromkeys(range(70), "importer"))]
    assert "value" not in found(rows, key=("tenant", "id"), beside=beside)
    told = found(rows, key=("tenant", "id"), beside=beside, ask=asked({"app": 0.1}))["value"]
    assert told.sentence == "70 of 100 rows (70%): `app` of the target is importer (of all rows: 10%)"


@pytest.mark.parametrize(
    ("rows", "usual", "told"), [(8, 0.05, True), (8, 0.3, False), (80, 0.3, True), (7, 0.0, False)]
)
def test_few_rows_may_be_alike_by_chance(rows: int, usual: float, told: bool) -> None:
    beside = [Known(name="app", kind="value", role="target", values=dict.fromkeys(range(rows), "importer"))]
    wrong = [different(sparse(at), at * 10, at * at * 7 + 3) for at in range(max(rows, ROWS_MIN))]
    assert ("value" in found(wrong, beside=beside, ask=asked({"app": usual}))) is told


def test_a_value_that_is_not_the_most_frequent_can_be_the_one() -> None:
    """Most wrong rows are of the writer of most rows; it is the other who errs."""
    values = {at: "web" if at < 55 else "importer" for at in range(100)}
    usual = {"web": 0.98, "importer": 0.02}
    rows = [different(sparse(at), at * 10, at * at * 7 + 3) for at in range(100)]
    told = causes(
        rows,
        key=["id"],
        columns=["n"],
        beside=[Known(name="app", kind="value", role="target", values=values)],
        ask=lambda places: [usual[str(place.slice.shown)] for place in places],
    )
    assert "45 of 100 rows (45%): `app` of the target is importer (of all rows: 2%)" in [c.sentence for c in told]


def test_compared_columns_say_it_too_where_they_are_alike() -> None:
    rng = random.Random(9)
    rows = [
        Suspect(kind=DriftKind.DIFFERENT, key=sparse(at), expected=("eu", number(rng)), observed=("eu", number(rng)))
        for at in range(30)
    ]
    told = causes(rows, key=["id"], columns=["region", "n"], ask=asked({"region": 0.3}))
    assert "all 30 rows: `region` is eu (of all rows: 30%)" in [cause.sentence for cause in told]
    hidden = causes(rows, key=["id"], columns=["region", "n"], hidden=(True, False), ask=asked({"region": 0.3}))
    assert not any("region" in cause.sentence for cause in hidden)
    # A column that differs is what went wrong, and not where.
    moved = [different(sparse(at), number(rng), 5) for at in range(30)]
    assert found(moved, ask=asked({"n": 0.01})).get("value") is None


def test_columns_in_which_the_same_rows_are_alike_are_one_cause() -> None:
    beside = [
        Known(name=name, kind="value", role="target", values=dict.fromkeys(range(40), name.upper()))
        for name in ("app", "host")
    ]
    rows = [different(sparse(at), at * 10, at * at * 7 + 3) for at in range(50)]
    told = found(rows, beside=beside, ask=asked({"app": 0.1, "host": 0.2}))["value"]
    assert told.sentence == (
        "40 of 50 rows (80%): `app` of the target is APP (of all rows: 10%) and "
        "`host` of the target is HOST (of all rows: 20%)"
    )


def test_a_column_that_both_sides_have_is_told_once() -> None:
    """By the side that knows more of it: of a row that is missing only the source does."""
    rows = [different(sparse(at), at * 10, at * at * 7 + 3) for at in range(50)]
    held = {"source": dict.fromkeys(range(40), 7), "target": dict.fromkeys(range(39), 7)}
    for roles in (("source", "target"), ("target", "source")):
        beside = [Known(name="tenant", kind="value", role=role, values=held[role]) for role in roles]
        told = found(rows, beside=beside, ask=asked({"tenant": 0.1}))["value"]
        assert told.sentence == "40 of 50 rows (80%): `tenant` of the source is 7 (of all rows: 10%)"
        other = Known(name="tenant", kind="value", role="target", values=dict.fromkeys(range(40), 8))
        source = next(one for one in beside if one.role == "source")
        both = found(rows, beside=[source, other], ask=asked({"tenant": 0.1}))["value"]
        assert "and `tenant` of the" in both.sentence  # the control: they say two things


def test_a_boolean_is_told_as_one() -> None:
    beside = [Known(name="ok", kind="value", role="target", values=dict.fromkeys(range(40), False))]
    rows = [different(sparse(at), at * 10, at * at * 7 + 3) for at in range(50)]
    assert "`ok` of the target is false" in found(rows, beside=beside, ask=asked({"ok": 0.1}))["value"].sentence
