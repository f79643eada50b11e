"""Declared health signals: what an answer is worth, and what is no answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.core.pace.gauges import EMERGENCY, TOO_MUCH, Gauge, number, of_command, of_http, of_prometheus
from trueup.core.pace.settings import Pace

SQL: dict[str, Any] = {"name": "jobs", "sql": "SELECT 1"}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"name": "x"}, "where the number comes from"),
        ({**SQL, "python": "a:b"}, "where the number comes from"),
        ({**SQL, "query": "up"}, "`query` belongs"),
        ({"name": "x", "prometheus": "http://p"}, "`query` belongs"),
        ({**SQL, "timeout": 2}, "given up after half a second"),
        ({**SQL, "soft": 1}, "`soft` and `hard`"),
        ({**SQL, "idle": 5, "soft": 1, "hard": 2}, "`idle` has to be below"),
        ({"name": "x", "python": "shop.load"}, "package.module:function"),
    ],
)
def test_what_is_declared_wrongly(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Gauge(**wrong)


def test_names_tell_them_apart() -> None:
    with pytest.raises(ValidationError, match="same name"):
        Pace(gauges=[SQL, SQL])


@given(pressure=st.floats(0, 3), idle=st.floats(-100, 100), step=st.floats(0.1, 100), further=st.floats(0.1, 100))
def test_a_word_is_worth_its_pressure(pressure: float, idle: float, step: float, further: float) -> None:
    gauge = Gauge(**SQL, idle=idle, soft=idle + step, hard=idle + step + further)
    assert gauge.mark.pressure(gauge.worth(pressure)) == pytest.approx(pressure, abs=1e-3)


def test_without_marks_a_number_is_the_pressure() -> None:
    assert [Gauge(**SQL).mark.pressure(value) for value in (-1, 0, 0.5, 1, 2, 9)] == [0, 0, 0.5, 1, 2, 3]


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, "OK", 0.0),
        (200, '{"StatusCode": 200}', 0.0),
        (200, '{"value": 0.7}', 0.7),
        (200, "1.5\n", 1.5),
        (429, "", TOO_MUCH),
        (417, "denied", EMERGENCY),
    ],
)
def test_over_http(status: int, body: str, expected: float) -> None:
    assert of_http(Gauge(name="x", http="http://x"), status, body) == expected


@pytest.mark.parametrize(
    ("status", "body"), [(404, "OK"), (500, ""), (302, ""), (200, '{"value": null}'), (200, "NaN")]
)
def test_no_answer_over_http(status: int, body: str) -> None:
    with pytest.raises(ValueError, match=r"answered|no number"):
        of_http(Gauge(name="x", http="http://x"), status, body)


def test_prometheus() -> None:
    vector = '{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"2"]},{"value":[1,"7.5"]}]}}'
    assert of_prometheus(vector) == 7.5
    assert of_prometheus('{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}') == 3
    for nothing in ('{"status":"success","data":{"resultType":"vector","result":[]}}', '{"status":"error"}', "[]"):
        with pytest.raises(ValueError, match=r"found nothing|answered"):
            of_prometheus(nothing)


@pytest.mark.parametrize(("code", "printed", "expected"), [(0, "", 0), (0, "3 jobs", 3), (1, "WARN", 1.2), (2, "", 2)])
def test_a_command(code: int, printed: str, expected: float) -> None:
    assert of_command(Gauge(name="x", command=("x",)), code, printed) == expected


@pytest.mark.parametrize(("code", "printed"), [(3, "UNKNOWN"), (127, ""), (-9, ""), (0, "all fine")])
def test_a_command_without_an_answer(code: int, printed: str) -> None:
    with pytest.raises(ValueError, match=r"ended with|no number"):
        of_command(Gauge(name="x", command=("x",)), code, printed)


@pytest.mark.parametrize("nothing", [None, True, "", "inf", [], object()])
def test_what_is_no_number_is_never_zero(nothing: object) -> None:
    with pytest.raises(ValueError, match="no number"):
        number(nothing)
