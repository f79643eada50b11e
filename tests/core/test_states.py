"""Which state may follow which: all pairs, and what a run's end means to the caller."""

from __future__ import annotations

from itertools import product

import pytest

from trueup.core.states import EXIT_CODES, RESUMABLE, TRANSITIONS, RunState, Verdict, may_follow

R = RunState
ALLOWED = {
    *((R.RUNNING, after) for after in R),
    (R.INTERRUPTED, R.RUNNING),
    (R.INTERRUPTED, R.ABANDONED),
    (R.FAILED, R.RUNNING),
    (R.FAILED, R.ABANDONED),
}


@pytest.mark.parametrize(("before", "after"), list(product(R, R)), ids=lambda state: state.value)
def test_every_pair_of_states(before: RunState, after: RunState) -> None:
    assert may_follow(before, after) == ((before, after) in ALLOWED)


def test_every_state_has_a_line_in_the_table() -> None:
    assert set(TRANSITIONS) == set(R)


def test_what_ended_for_good_is_never_resumed_and_the_rest_is() -> None:
    assert {state for state in R if may_follow(state, R.RUNNING)} == RESUMABLE
    assert {state for state in R if not TRANSITIONS[state]} == {R.DONE, R.REFUSED, R.ABANDONED}


def test_exit_codes_are_the_contract() -> None:
    assert EXIT_CODES == {
        Verdict.IN_SYNC: 0,
        Verdict.REPAIRED: 0,
        Verdict.DRIFT: 1,
        Verdict.INCONCLUSIVE: 3,
        Verdict.REFUSED: 4,
    }


def test_only_a_complete_answer_is_zero() -> None:
    assert {verdict for verdict, code in EXIT_CODES.items() if code == 0} == {Verdict.IN_SYNC, Verdict.REPAIRED}
