"""Declared health signals: what an answer is worth, and what is no answer."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.core.pace.gauges import EMERGENCY, TOO_MUCH, Gauge, number, of_command, of_http, of_prometheus
from trueup.core.pace.settings import Pace

SQL: dict[str, Any] = {"name": "jobs", "sql": "SELECT 1"}
#: JSON that is too deep to be read, and a number that is too long to be written: not as the name of a test either.
DEEP, HUGE = "[" * 90_000, 10**5000


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
        ({**SQL, "idle": -math.inf, "soft": 1, "hard": 2}, "finite"),
        ({**SQL, "soft": 1, "hard": math.inf}, "finite"),
        ({**SQL, "idle": math.nan}, "finite"),
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
    ("status", "body"),
    [
        *((404, "OK"), (500, ""), (302, ""), (200, '{"value": null}'), (200, "NaN"), (200, "nan"), (200, "None")),
        *((200, '{"value": 9'), (200, "["), (200, '"OK'), (200, "1,5"), (200, "-.5.1"), (200, " 3 jobs")),
        *((200, f"1{400 * '0'}"), (200, f'{{"value": 1{400 * "0"}}}'), (200, '"')),
        pytest.param(200, DEEP, id="deep"),
    ],
)
def test_no_answer_over_http(status: int, body: str) -> None:
    with pytest.raises(ValueError, match=r"answered|no number|begins like"):
        of_http(Gauge(name="x", http="http://x"), status, body)


PROMETHEUS = Gauge(name="x", prometheus="http://x", query="up", soft=10, hard=50)


def vector(*values: str) -> str:
    series = [{"metric": {}, "value": [1, value]} for value in values]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": series}})


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("2", "7.5"), 7.5),
        (("NaN", "5"), 5),  # a series without a value hid all others
        (("5", "NaN", "-Inf"), 5),
        (("+Inf",), 50),
        (("+Inf", "NaN", "3"), 50),
        (("+Inf", "70"), 70),
    ],
)
def test_prometheus(values: tuple[str, ...], expected: float) -> None:
    assert of_prometheus(PROMETHEUS, vector(*values)) == expected
    assert of_prometheus(PROMETHEUS, '{"status":"success","data":{"resultType":"scalar","result":[1,"3"]}}') == 3


@pytest.mark.parametrize(
    "body",
    [
        *(vector(), vector("NaN"), vector("NaN", "-Inf"), vector("x"), '{"status":"error"}', "[]", ""),
        pytest.param(DEEP, id="deep"),
        '{"status":"success","data":[]}',
        '{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1,"5"]]}]}}',
        '{"status":"success","data":{"resultType":"string","result":[1,"x"]}}',
    ],
)
def test_no_answer_of_prometheus(body: str) -> None:
    with pytest.raises(ValueError, match=r"found nothing|answered"):
        of_prometheus(PROMETHEUS, body)


@pytest.mark.parametrize(
    ("code", "printed", "expected"),
    [
        *((0, "", 0), (0, "3 jobs", 3), (0, " -.5e1", -5), (1, "WARN", 1.2), (2, "", 2)),
        *((0, "all fine", 0), (0, "DISK OK - free space: / 3326 MB (17%)", 0), (0, "INFO", 0)),  # as plugins print
    ],
)
def test_a_command(code: int, printed: str, expected: float) -> None:
    assert of_command(Gauge(name="x", command=("x",)), code, printed) == expected


@pytest.mark.parametrize(
    ("code", "printed"),
    [(3, "UNKNOWN"), (127, ""), (-9, ""), *((0, word) for word in ("nan", "-Inf", "Infinity", "null", "12abc", "5%"))],
)
def test_a_command_without_an_answer(code: int, printed: str) -> None:
    with pytest.raises(ValueError, match=r"ended with|no number"):
        of_command(Gauge(name="x", command=("x",)), code, printed)


@pytest.mark.parametrize("nothing", [None, True, "", "inf", [], object(), 10**400, pytest.param(HUGE, id="huge")])
def test_what_is_no_number_is_never_zero(nothing: object) -> None:
    with pytest.raises(ValueError, match="no number"):
        number(nothing)
