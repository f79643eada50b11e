"""What counts as found, as drift, and as a wrong guess."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.discover.ideas import Idea, Kind, Strength
from trueup.core.discover.judge import Figures, Tried, Verdict, better, judge
from trueup.core.discover.links import Path, Predicate

PATH = Path(target="posts", on=("id",), child="comments", by=("post_id",))
ALIVE = Predicate(column="deleted_at", test="null")


def tried(wrong: int, telling: int, strength: Strength = Strength.STRONG, *filters: Predicate, **told: bool) -> Tried:
    idea = Idea(
        table="posts", column="n", kind=Kind.COUNT, strength=strength, why="its name", path=PATH, filters=filters
    )
    figures = Figures(rows=max(telling, wrong), wrong=wrong, telling=telling, **{"varied": True, "many": True, **told})
    return Tried(idea=idea, figures=figures)


def test_most_rows_against_a_strong_name_is_a_wrong_guess_and_not_drift() -> None:
    drift, guess = judge([tried(49, 100)]), judge([tried(51, 100)])
    assert drift is not None
    assert guess is not None
    assert (drift.verdict, guess.verdict) == (Verdict.DRIFT, Verdict.WRONG_GUESS)


def test_where_names_say_nothing_only_rows_that_nearly_all_agree_do() -> None:
    assert judge([tried(11, 100, Strength.WEAK)]) is None
    found = judge([tried(9, 100, Strength.WEAK)])
    assert found is not None
    assert found.verdict is Verdict.DRIFT
    assert judge([tried(0, 9, Strength.WEAK)]) is None, "nine rows may agree by chance"
    assert judge([tried(0, 100, Strength.WEAK, many=False)]) is None, "so may 0 and 1"


def test_nothing_to_see_is_no_evidence() -> None:
    found = judge([tried(0, 0)])
    assert found is not None
    assert (found.verdict, found.confidence) == (Verdict.NO_EVIDENCE, "low")


def test_the_variant_that_fits_is_proposed_and_a_close_one_is_named() -> None:
    found = judge([tried(12, 100), tried(5, 100, Strength.STRONG, ALIVE)])
    assert found is not None
    assert (found.idea.filters, found.runner_up) == ((ALIVE,), None)
    close = judge([tried(7, 100), tried(5, 100, Strength.STRONG, ALIVE)])
    assert close is not None
    assert close.runner_up is not None
    assert close.runner_up.figures.wrong == 7


def test_a_condition_that_changes_nothing_is_left_out() -> None:
    found = judge([tried(5, 100, Strength.STRONG, ALIVE), tried(5, 100)])
    assert found is not None
    assert (found.idea.filters, found.runner_up) == ((), None)


@given(st.lists(st.tuples(st.integers(0, 100), st.sampled_from(Strength)), min_size=1, max_size=8))
def test_the_best_is_never_much_worse_than_any(found: list[tuple[int, Strength]]) -> None:
    held = [tried(wrong, 100, strength) for wrong, strength in found]
    best = better(held)[0]
    assert best.figures.wrong <= min(t.figures.wrong for t in held) * 1.05 + 1
