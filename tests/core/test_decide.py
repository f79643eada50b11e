"""What is done with a drifting row, and whether a run may write at all: each limit, and its border."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.values import limits, projection
from trueup.core.compare import DriftKind, Suspect
from trueup.core.decide import (
    HANDED,
    Action,
    Decision,
    Totals,
    action_for,
    changes,
    collapsed,
    decide,
    decide_now,
    judge,
)


def suspect(kind: DriftKind, **changes: Any) -> Suspect:
    expected = None if kind is DriftKind.EXTRA else (2,)
    observed = None if kind is DriftKind.MISSING else (1,)
    return replace(Suspect(kind=kind, key=(1,), expected=expected, observed=observed), **changes)


# --- one row ---------------------------------------------------------------------------------------------------------

POLICIES = [
    (DriftKind.MISSING, {}, Action.INSERT),
    (DriftKind.MISSING, {"on_missing": "insert"}, Action.INSERT),
    (DriftKind.MISSING, {"on_missing": "report"}, Action.REPORT),
    (DriftKind.DIFFERENT, {}, Action.UPDATE),
    (DriftKind.DIFFERENT, {"on_different": "update"}, Action.UPDATE),
    (DriftKind.DIFFERENT, {"on_different": "report"}, Action.REPORT),
    # Nothing is deleted that nobody asked to delete.
    (DriftKind.EXTRA, {}, Action.REPORT),
    (DriftKind.EXTRA, {"absent": {"n": 0}}, Action.UPDATE),
    (DriftKind.EXTRA, {"absent": {"n": 0}, "on_extra": "reset"}, Action.UPDATE),
    (DriftKind.EXTRA, {"absent": {"n": 0}, "on_extra": "report"}, Action.REPORT),
    (DriftKind.EXTRA, {"on_extra": "delete"}, Action.DELETE),
    (DriftKind.EXTRA, {"on_extra": "report"}, Action.REPORT),
]


@pytest.mark.parametrize(("kind", "policy", "action"), POLICIES)
def test_the_declared_policy(kind: DriftKind, policy: dict[str, Any], action: Action) -> None:
    decided = decide(suspect(kind), projection(**policy))
    assert decided.action is action
    assert decided.action is action_for(kind, projection(**policy))
    assert bool(decided.reason) == (action is Action.REPORT)


@pytest.mark.parametrize("kind", list(DriftKind))
def test_a_key_that_occurs_twice_is_only_reported(kind: DriftKind) -> None:
    decided = decide(suspect(kind, copies=(2, 1)), projection(on_extra="delete"))
    assert decided.action is Action.REPORT
    assert "2 times in the source and once in the target" in decided.reason


@pytest.mark.parametrize("kind", list(DriftKind))
@pytest.mark.parametrize("key", [(None,), (1, None), (None, 1)])
def test_a_key_with_a_null_part_is_only_reported(kind: DriftKind, key: tuple[Any, ...]) -> None:
    decided = decide(suspect(kind, key=key), projection(on_extra="delete"))
    assert decided.action is Action.REPORT
    assert "NULL" in decided.reason


ROWS = [None, (0,), (1,), (2,)]


@pytest.mark.parametrize(("expected", "observed"), list(product(ROWS, ROWS)))
@pytest.mark.parametrize("policy", [{}, {"absent": {"n": 0}}, {"on_extra": "delete"}])
def test_deciding_under_the_lock(expected: Any, observed: Any, policy: dict[str, Any]) -> None:
    """The repair decides again on what it holds. After its write the row is what the source says, or it is reported."""
    declared = projection(**policy)
    absent = (0,) if "absent" in policy else None
    action, values = decide_now(expected, observed, absent, declared)
    if expected is None and observed is not None and observed != absent:
        wanted = {"report": Action.REPORT, "reset": Action.UPDATE, "delete": Action.DELETE}[declared.extra_policy]
        assert action is wanted
        assert values == absent
    elif expected is None or expected == observed:
        assert action is None
    else:
        assert action is (Action.INSERT if observed is None else Action.UPDATE)
        assert values == expected


def test_changes_counts_what_would_be_written() -> None:
    decisions = [Decision(drift=suspect(DriftKind.EXTRA), action=action) for action in (*Action, Action.DELETE)]
    assert changes(decisions) == (6, 4)  # a row without a source row that is handed over counts as taken away
    handed = [Decision(drift=suspect(DriftKind.MISSING), action=action) for action in HANDED]
    assert changes(handed) == (2, 0)


# --- the run ---------------------------------------------------------------------------------------------------------


def totals(**changed: Any) -> Totals:
    """A quiet run: nothing differs, the source is as large as ever."""
    quiet: dict[str, Any] = {
        "source_rows": 1000,
        "target_rows": 1000,
        "source_rows_before": 1000,
        "changes": 0,
        "deletes": 0,
        "drift": 0,
    }
    return Totals(**(quiet | changed))


def test_a_quiet_run_may_write() -> None:
    assert judge(totals(), limits()) == ""


def test_rows_exactly_at_the_limit_pass_and_one_more_does_not() -> None:
    limit = limits(rows=7, share="100%")
    assert judge(totals(changes=7, drift=7), limit) == ""
    assert "8 rows would be changed; limits.rows = 7" in judge(totals(changes=8, drift=8), limit)


def test_deletes_exactly_at_the_limit_pass_and_one_more_does_not() -> None:
    limit = limits(deletes=3, share="100%")
    assert judge(totals(changes=3, deletes=3, drift=3), limit) == ""
    assert "4 rows would be deleted; limits.deletes = 3" in judge(totals(changes=4, deletes=4, drift=4), limit)


def test_share_exactly_at_the_limit_passes_and_one_more_does_not() -> None:
    assert judge(totals(changes=50, drift=50), limits(share="5%")) == ""
    assert "limits.share = 5.0%" in judge(totals(changes=51, drift=51), limits(share="5%"))


@given(st.integers(1, 99), st.integers(1, 300))
def test_the_border_of_every_share(percent: int, hundreds: int) -> None:
    """29% of 100 rows are 29 rows, also where 0.29 * 100 is 28.999999999999996."""
    rows = hundreds * 100
    allowed = percent * hundreds
    limit = limits(share=f"{percent}%", rows=rows, share_from=0)

    def why(changing: int) -> str:
        # `drift` is kept small so that the guard on most rows, asked first, does not answer instead.
        return judge(totals(source_rows=rows, source_rows_before=rows, target_rows=rows, changes=changing), limit)

    assert why(allowed) == ""
    assert "limits.share" in why(allowed + 1)


def test_a_share_says_nothing_about_a_handful_of_rows() -> None:
    small = totals(source_rows=10, target_rows=10, source_rows_before=10)
    assert judge(replace(small, changes=9, drift=9), limits(share_from=10)) == ""
    assert judge(replace(small, changes=10, drift=10), limits(share_from=10)) != ""
    assert judge(replace(small, changes=0, drift=10), limits(share_from=10)) == ""


def test_share_is_of_the_larger_side() -> None:
    assert judge(totals(target_rows=2000, changes=100, drift=100), limits(share="5%")) == ""
    assert judge(totals(source_rows=2000, changes=100, drift=100), limits(share="5%")) == ""
    assert judge(totals(target_rows=2000, changes=101, drift=101), limits(share="5%")) != ""


def test_a_share_of_everything_is_no_limit() -> None:
    # All source rows missing and all target rows extra: twice as many changes as either side has rows.
    found = totals(changes=2000, deletes=1000, drift=2000)
    assert judge(found, limits(share="100%", rows=2000, deletes=1000)) == ""
    assert "check the definition" in judge(found, limits(share="99%", rows=2000, deletes=1000))


def test_most_rows_differing_says_to_check_the_definition() -> None:
    why = judge(totals(changes=501, drift=501), limits())
    assert "check the definition" in why
    assert "501 of 1,000" in why
    assert "check the definition" not in judge(totals(changes=500, drift=500), limits())
    # Who raised the limits has checked it.
    assert judge(totals(changes=900, drift=900), limits(share="100%", rows=1000)) == ""
    # What is only reported is not written, so there is nothing to refuse.
    assert judge(totals(changes=0, drift=900), limits()) == ""


def test_limits_of_zero_allow_nothing() -> None:
    assert judge(totals(changes=1, drift=1), limits(rows=0)) != ""
    assert judge(totals(changes=1, deletes=1, drift=1), limits(deletes=0)) != ""
    assert judge(totals(changes=1, drift=1), limits(share="0%", share_from=0)) != ""


# --- a collapsed source ----------------------------------------------------------------------------------------------


def test_a_source_exactly_at_the_share_is_believed_and_one_row_less_is_not() -> None:
    assert collapsed(500, 0, 1000, limits()) == ""
    assert "source collapsed" in collapsed(499, 0, 1000, limits())


@given(st.integers(1, 99), st.integers(1, 300))
def test_the_border_of_every_collapse(percent: int, hundreds: int) -> None:
    limit = limits(collapse=f"{percent}%")
    assert collapsed(percent * hundreds, 0, hundreds * 100, limit) == ""
    assert collapsed(percent * hundreds - 1, 0, hundreds * 100, limit) != ""


def test_the_last_complete_run_is_what_counts() -> None:
    # The target may be huge or empty: with a run to compare with, only the source's own past matters.
    assert collapsed(1000, 10**9, 1000, limits()) == ""
    why = collapsed(10, 10, 1000, limits())
    assert "10 rows, against 1,000 at the last complete run" in why


def test_the_first_run_compares_with_the_target() -> None:
    why = collapsed(0, 10, None, limits())
    assert "0 rows, against 10 rows in the target" in why
    assert collapsed(5, 10, None, limits()) == ""
    assert collapsed(4, 10, None, limits()) != ""


def test_an_empty_source_that_always_was_empty_is_believed() -> None:
    assert collapsed(0, 0, None, limits()) == ""
    assert collapsed(0, 100, 0, limits()) == ""  # the last complete run saw it empty too


def test_the_guard_can_be_switched_off_and_says_how() -> None:
    why = collapsed(0, 100, 1000, limits())
    (told,) = re.findall(r'limits\.collapse = "([^"]+)"', why)
    assert collapsed(0, 100, 1000, limits(collapse=told)) == ""


def test_a_collapsed_source_is_the_first_reason_given() -> None:
    why = judge(totals(source_rows=0, changes=1000, deletes=1000, drift=1000), limits())
    assert why.startswith("source collapsed")


@given(
    st.builds(
        Totals,
        source_rows=st.integers(0, 200),
        target_rows=st.integers(0, 200),
        source_rows_before=st.none() | st.integers(0, 200),
        changes=st.integers(0, 200),
        deletes=st.integers(0, 200),
        drift=st.integers(0, 200),
    ),
    st.builds(
        limits,
        rows=st.integers(0, 200),
        deletes=st.integers(0, 200),
        share=st.integers(0, 100).map("{}%".format),
        collapse=st.integers(0, 100).map("{}%".format),
        share_from=st.integers(0, 200),
    ),
)
def test_what_may_be_written_is_within_every_limit(found: Totals, limit: Any) -> None:
    """The other way round, without the order of the questions: an allowed run breaks no limit."""
    if judge(found, limit):
        return
    rows = max(found.source_rows, found.target_rows, 1)
    assert found.changes <= limit.rows
    assert found.deletes <= limit.deletes
    if found.drift >= limit.share_from and limit.share < 1:
        assert found.changes <= rows * Decimal(str(limit.share))
    before = found.target_rows if found.source_rows_before is None else found.source_rows_before
    assert found.source_rows >= before * Decimal(str(limit.collapse))
