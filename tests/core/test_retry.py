"""How long is waited before the next try, and how long a projection is paused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from trueup.core.retry import Retry, pause_s, wait_s


def test_waits_double_up_to_the_longest_and_chance_spreads_them_from_nothing() -> None:
    retry = Retry(first="100ms", longest="1s")
    assert [wait_s(retry, failures, 1.0) for failures in (1, 2, 3, 4, 5, 60, 10_000)] == [0.1, 0.2, 0.4, 0.8, 1, 1, 1]
    assert wait_s(retry, 3, 0.0) == 0
    assert wait_s(retry, 3, 0.25) == pytest.approx(0.1)


def test_pauses_double_likewise_and_know_no_chance() -> None:
    retry = Retry(pause="1m", pause_longest="10m")
    assert [pause_s(retry, pauses) for pauses in (1, 2, 3, 4, 5, 500)] == [60, 120, 240, 480, 600, 600]


@pytest.mark.parametrize("wrong", [{"tries": 0}, {"first": "0s"}, {"within": "0s"}, {"pause": -1}, {"retries": 3}])
def test_what_cannot_be_meant_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Retry.model_validate(wrong)
