"""What a team may declare, and what is refused before any database is asked."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.core.values import limits, projection
from trueup.core.declared import parse_duration, parse_share
from trueup.core.projection import Database, Limits, Projection, Side, absent_value

# --- durations and shares --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("200ms", 0.2),
        ("5m", 300.0),
        ("6h", 21600.0),
        ("1d", 86400.0),
        ("1.5 s", 1.5),
        (" 10s ", 10.0),
        ("7", 7.0),
        (7, 7.0),
        (0.25, 0.25),
        (0, 0.0),
        ("0s", 0.0),
    ],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "s", "10 parsecs", "10s later", "-1s", -1, True, None, "1h30m", "nan", "inf", float("nan"), float("inf"), []],
)
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "share"),
    [("5%", 0.05), ("0%", 0.0), ("100%", 1.0), (0.05, 0.05), (1, 1.0), (0, 0.0), ("0.5", 0.5), (" 5 % ", 0.05)],
)
def test_shares(text: object, share: float) -> None:
    assert parse_share(text) == share


@given(st.integers(0, 10000))
def test_a_share_in_percent_is_the_decimal_that_was_written(hundredths: int) -> None:
    text = f"{Decimal(hundredths) / 100}%"
    assert Decimal(repr(parse_share(text))) == Decimal(hundredths) / 10000


@pytest.mark.parametrize(
    "text", ["", "%", "x%", "101%", "-1%", 1.1, -0.1, float("nan"), "nan%", True, None, "5 percent"]
)
def test_what_is_no_share(text: object) -> None:
    with pytest.raises(ValueError, match=r"share|between"):
        parse_share(text)


# --- sides -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given_", [{}, {"table": "t", "query": "SELECT 1"}])
def test_a_side_is_either_a_table_or_a_query(given_: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="either `table`, `query`, "):
        Side(database="app", **given_)


def test_names_are_mapped_where_they_differ() -> None:
    side = Side(database="app", table="t", columns={"likes": "like_count"})
    assert side.physical("likes") == "like_count"
    assert side.physical("id") == "id"


#: Two columns that are one in the target.
TWICE: dict[str, Any] = {
    "columns": ["a", "b"],
    "target": Side(database="app", table="t", columns={"a": "n", "b": "n"}),
    "writers": "same_transaction",
}


# --- projections -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": []}, "at least 1"),
        ({"key": ["id", "id"]}, "`key` names a column twice"),
        ({"columns": ["n", "n"]}, "`columns` names a column twice"),
        ({"columns": ["n", "id"]}, "'id' is in `key` and in `columns`"),
        ({"on_extra": "reset"}, "needs `absent`"),
        ({"absent": {"id": 0}}, "not for the key"),
        ({"on_missing": "upsert"}, "insert"),
        ({"on_extra": "drop"}, "reset"),
        ({"on_different": "replace"}, "update"),
        ({"writers": "cron"}, "same_transaction"),
        ({"settle": "soon"}, "not a duration"),
        ({"limits": {"share": "150%"}}, "between 0% and 100%"),
        ({"limits": {"rows": -1}}, "greater than or equal to 0"),
        ({"limits": {"deletes": -1}}, "greater than or equal to 0"),
        ({"name": "a/b"}, "pattern"),
        ({"name": "x" * 64}, "pattern"),
        ({"surprise": 1}, "not permitted"),
        (TWICE, "'a' and 'b' are one column there, 'n', which cannot hold two values"),
        (TWICE | {"columns": None}, "'a' and 'b' are one column there"),
        (TWICE | {"target": Side(database="app", table="t", columns={"a": "id"})}, "'id' and 'a' are one column"),
    ],
)
def test_what_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        projection(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"writers": None},
        {"target": Side(database="app", query="SELECT id, n FROM t", columns={"a": "n", "b": "n"})},
    ],
)
def test_what_is_only_compared_may_be_compared_with_one_column_twice(changes: dict[str, Any]) -> None:
    assert projection(**(TWICE | changes)).target.physical("a") == "n"


def test_one_name_may_stand_without_brackets() -> None:
    declared = projection(key="id", columns="n", sensitive="n")
    assert (declared.key, declared.columns, declared.sensitive) == (("id",), ("n",), ("n",))


def test_what_happens_to_an_extra_row_by_default() -> None:
    assert projection().extra_policy == "report"
    assert projection(absent={"n": 0}).extra_policy == "reset"
    assert projection(absent={"n": 0}, on_extra="delete").extra_policy == "delete"


def test_defaults_are_careful() -> None:
    declared = projection()
    assert declared.writers is None  # so nothing can be written
    assert declared.limits == Limits()
    assert (declared.limits.rows, declared.limits.share, declared.limits.deletes) == (1000, 0.05, 100)
    assert declared.limits.collapse == 0.5


def test_declarations_cannot_be_changed_behind_the_engine() -> None:
    for value, name in ((projection(), "key"), (limits(), "rows"), (Side(database="a", table="t"), "table")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(value, name, 5)


def test_one_database_is_a_matter_of_names() -> None:
    assert projection().one_database
    assert not projection(target=Side(database="other", table="tgt")).one_database


def test_floats_of_absent_are_the_decimals_they_are_written_as() -> None:
    assert absent_value(0.1) == Decimal("0.1")
    assert isinstance(absent_value(0.1), Decimal)
    assert absent_value(float("nan")) is not None
    assert absent_value("x") == "x"
    assert absent_value(True) is True


# --- secrets ---------------------------------------------------------------------------------------------------------

CANARY = "canary-5b1e"


def test_a_password_is_in_no_repr() -> None:
    database = Database(url=f"postgresql://app:{CANARY}@localhost/app")
    for text in (repr(database), str(database), repr({"a": database}), database.model_dump_json()):
        assert CANARY not in text
    assert CANARY in database.url.get_secret_value()


@pytest.mark.parametrize("wrong", [{"statement_timeout": 0}, {"lock_timeout": "x"}, {"surprise": 1}, {"markers": "?"}])
def test_a_password_is_in_no_message(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        Database.model_validate({"url": f"postgresql://app:{CANARY}@localhost/app", **wrong})
    assert CANARY not in str(caught.value)
    assert CANARY not in repr(caught.value)


def test_a_projection_knows_nothing_of_passwords() -> None:
    assert not any("url" in name or "password" in name for name in Projection.model_fields)
