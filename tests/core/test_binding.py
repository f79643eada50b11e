"""Declaration against shape: every mistake is found from names and types alone, and said with its place and remedy."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.core.values import projection
from trueup.core.binding import Binding, Column, Shape, bind, check_query, near
from trueup.core.projection import Side
from trueup.core.row import Kind
from trueup.errors import ConfigError

K = Kind


def shape(
    columns: dict[str, Kind],
    *,
    unique: list[set[str]] | None = None,
    table: bool = True,
    dialect: str = "sqlite",
    **changes: dict[str, Any],
) -> Shape:
    """`changes`: per column, what is special about it."""
    return Shape(
        columns={
            name: Column(name=name, kind=kind, **({"type_name": kind.value} | changes.get(name, {})))
            for name, kind in columns.items()
        },
        unique=tuple(frozenset(names) for names in unique or []),
        table=table,
        dialect=dialect,
    )


SOURCE = shape({"id": K.INTEGER, "n": K.INTEGER, "other": K.TEXT})
TARGET = shape({"id": K.INTEGER, "n": K.INTEGER, "at": K.TIMESTAMP}, unique=[{"id"}])


def bound(
    *,
    source: Shape = SOURCE,
    target: Shape = TARGET,
    target_side: Side | None = None,
    writing: bool = False,
    **changes: Any,
) -> Binding:
    changes |= {"target": target_side} if target_side else {}
    return bind(projection(**changes), source, target, writing=writing)


def refusal(**changes: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        bound(**changes)
    assert caught.value.exit_code == 2
    return str(caught.value)


# --- columns ---------------------------------------------------------------------------------------------------------


def test_columns_that_both_sides_have_are_compared_by_default() -> None:
    assert bound().columns == ("n",)


def test_columns_are_found_under_the_projections_names() -> None:
    target = shape({"post": K.INTEGER, "like_count": K.INTEGER, "n": K.INTEGER}, unique=[{"post"}])
    mapped = Side(database="app", table="tgt", columns={"id": "post", "likes": "like_count"})
    made = bind(projection(target=mapped), shape({"id": K.INTEGER, "likes": K.INTEGER}), target, writing=False)
    assert made.columns == ("likes",)
    assert [column.name for column in made.target.columns] == ["post", "like_count"]
    assert [column.name for column in made.source.columns] == ["id", "likes"]


def test_declared_columns_keep_their_order() -> None:
    both = shape({"id": K.INTEGER, "a": K.TEXT, "b": K.TEXT}, unique=[{"id"}])
    assert bound(source=both, target=both, columns=["b", "a"]).columns == ("b", "a")


def test_a_key_column_that_does_not_exist_is_named_with_its_neighbour() -> None:
    words = refusal(key=["idd"])
    assert "projections.p.key" in words
    assert "no column 'idd'" in words
    assert "did you mean 'id'?" in words


def test_a_key_column_that_only_the_target_lacks() -> None:
    words = refusal(key=["other"])
    assert "the target table 'tgt' in database 'app' has no column 'other'" in words


def test_a_compared_column_that_does_not_exist() -> None:
    words = refusal(columns=["n", "likes"])
    assert "projections.p.columns" in words
    assert "no column 'likes'; known: id, n, other" in words


def test_a_mapping_of_a_column_that_nobody_uses() -> None:
    side = Side(database="app", table="tgt", columns={"m": "n"})
    with pytest.raises(ConfigError) as caught:
        bind(projection(target=side, columns=["n"]), SOURCE, TARGET, writing=False)
    words = str(caught.value)
    assert "projections.p.target.columns: 'm' is neither in `key` nor in `columns`" in words
    assert "did you mean 'n'?" in words or "known: id, n" in words


def test_the_nearest_name_or_all_of_them() -> None:
    assert near("colums", ["columns", "key"]) == "did you mean 'columns'?"
    assert near("zzz", ["b", "a"]) == "known: a, b"
    assert near("zzz", []) == "known: none"


# --- queries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["source", "target"])
def test_a_query_that_is_not_one_select(role: str) -> None:
    side = Side(database="app", query="DELETE FROM t")
    with pytest.raises(ConfigError, match=rf"projections\.p\.{role}\.query: the query is a DELETE; give one SELECT"):
        check_query(f"projections.p.{role}", side, SOURCE.dialect)


def test_a_query_that_groups_by_the_key_is_known_to_be_unique() -> None:
    def unique(query: str) -> bool:
        side = Side(database="app", query=query)
        return bind(projection(source=side), SOURCE, TARGET, writing=False).source.unique

    assert unique("SELECT id, count(*) AS n FROM t GROUP BY id")
    assert not unique("SELECT id, n FROM t")


def test_uniqueness_needs_an_index_within_the_key() -> None:
    def unique(*indexes: set[str]) -> bool:
        target = shape({"id": K.INTEGER, "b": K.INTEGER, "n": K.INTEGER}, unique=list(indexes))
        source = shape({"id": K.INTEGER, "b": K.INTEGER, "n": K.INTEGER})
        return bound(source=source, target=target, key=["id", "b"]).target.unique

    assert unique({"id", "b"})
    assert unique({"id"})  # more than enough
    assert not unique()
    assert not unique({"id", "b", "n"})
    assert not unique({"n"})


# --- kinds -----------------------------------------------------------------------------------------------------------


TWO = {"target_side": Side(database="other", table="tgt")}


@pytest.mark.parametrize("kind", [K.UUID, K.DATE, K.TIMESTAMP, K.INSTANT, K.TIME])
def test_spellings_are_not_compared_inside_one_database(kind: Kind) -> None:
    """It would compare them as text: two spellings of one UUID would be a difference that is none."""
    source = shape({"id": K.INTEGER, "n": K.TEXT})
    target = shape({"id": K.INTEGER, "n": kind}, unique=[{"id"}])
    assert "cannot be compared exactly" in refusal(source=source, target=target)
    assert bound(source=source, target=target, **TWO).value_kinds == (kind,)


def test_kinds_that_meet() -> None:
    source = shape({"id": K.TEXT, "n": K.INTEGER})
    target = shape({"id": K.UUID, "n": K.DECIMAL}, unique=[{"id"}])
    binding = bound(source=source, target=target, **TWO)
    assert binding.key_kinds == (K.UUID,)
    assert binding.value_kinds == (K.DECIMAL,)
    assert binding.kinds == (K.UUID, K.DECIMAL)


def test_kinds_without_an_exact_rule_are_refused_with_the_column() -> None:
    words = refusal(source=shape({"id": K.INTEGER, "n": K.TEXT}))
    assert "column 'n' cannot be compared exactly: text in the source, integer in the target" in words
    assert "Cast it in the source query" in words
    assert words.endswith("or leave it out of `columns`")
    as_key = refusal(source=shape({"id": K.TEXT, "n": K.INTEGER}))
    assert as_key.endswith("or choose another `key`"), "what is a key cannot be left out"


@pytest.mark.parametrize(("kind", "words"), [(K.BYTES, "for bytes"), (K.INTERVAL, "for such"), (K.ARRAY, "for such")])
def test_texts_that_no_two_products_spell_alike_are_refused(kind: Kind, words: str) -> None:
    """Of a file without types it is known that it holds texts; where nothing is known, the other side decides."""
    source, target = shape({"id": K.INTEGER, "n": K.ANY}), shape({"id": K.INTEGER, "n": kind}, unique=[{"id"}])
    texts = replace(source, columns={**source.columns, "n": replace(source.columns["n"], texts=True)})
    assert f"Every product has spellings of its own {words}" in refusal(source=texts, target=target)
    if kind is not K.ARRAY:
        assert bound(source=source, target=target).value_kinds == (kind,)


@pytest.mark.parametrize("kind", [K.FLOAT, K.DECIMAL, K.BYTES, K.BOOLEAN, K.TIME])
def test_kinds_without_an_order_that_is_the_same_everywhere_are_no_keys(kind: Kind) -> None:
    both = shape({"id": kind, "n": K.INTEGER}, unique=[{"id"}])
    assert "cannot be a key" in refusal(source=both, target=both)


@pytest.mark.parametrize("boolean_side", ["source", "target"])
def test_a_boolean_is_no_key_beside_an_integer_either(boolean_side: str) -> None:
    sides = {name: shape({"id": K.INTEGER, "n": K.INTEGER}, unique=[{"id"}]) for name in ("source", "target")}
    sides[boolean_side] = shape({"id": K.BOOLEAN, "n": K.INTEGER}, unique=[{"id"}])
    assert "cannot be a key" in refusal(**sides)


def test_types_of_one_database_are_compared_by_it() -> None:
    money = {"n": {"type_name": "money"}}
    source = shape({"id": K.INTEGER, "n": K.OPAQUE}, **money)
    target = shape({"id": K.INTEGER, "n": K.OPAQUE}, unique=[{"id"}], **money)
    assert bound(source=source, target=target).value_kinds == (K.OPAQUE,)
    elsewhere = shape({"id": K.INTEGER, "n": K.OPAQUE}, unique=[{"id"}], n={"type_name": "point"})
    assert "cannot be compared exactly" in refusal(source=source, target=elsewhere)
    assert "cannot be compared exactly" in refusal(source=source, target=target, **TWO)


# --- absent ----------------------------------------------------------------------------------------------------------


def test_absent_is_canonical_and_in_the_order_of_the_columns() -> None:
    both = shape({"id": K.INTEGER, "a": K.DECIMAL, "b": K.TEXT}, unique=[{"id"}])
    binding = bound(source=both, target=both, columns=["b", "a"], absent={"a": 0.1, "b": ""})
    assert binding.absent == ("", Decimal("0.1"))


def test_absent_names_a_column_that_is_not_compared() -> None:
    words = refusal(absent={"nn": 0})
    assert "projections.p.absent: 'nn' is not a compared column" in words


def test_absent_gives_every_compared_column() -> None:
    both = shape({"id": K.INTEGER, "a": K.INTEGER, "b": K.TEXT}, unique=[{"id"}])
    assert "missing: b" in refusal(source=both, target=both, absent={"a": 0})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.INTEGER, "zero"),
        (K.INTEGER, "0"),
        (K.INTEGER, 0.5),
        (K.DECIMAL, "none"),
        (K.FLOAT, "0"),
        (K.BOOLEAN, 2),
        (K.BOOLEAN, "no"),
        (K.TEXT, 0),
        (K.TEXT, False),
        (K.BYTES, ""),
        (K.UUID, "x"),
        (K.DATE, "soon"),
        (K.DATE, datetime(2026, 1, 1)),
        (K.TIME, 5),
        (K.TIMESTAMP, datetime(2026, 1, 1, tzinfo=UTC)),
        (K.INSTANT, date(2026, 1, 1)),
        (K.JSON, "{"),
        (K.INTERVAL, "a day"),
        (K.ARRAY, "{}"),
    ],
)
def test_a_value_of_absent_that_the_column_cannot_hold_is_refused(kind: K, value: Any) -> None:
    both = shape({"id": K.INTEGER, "v": kind}, unique=[{"id"}], v={"element": K.INTEGER})
    words = refusal(source=both, target=both, absent={"v": value})
    assert f"projections.p.absent.v: {value!r} cannot be in the target's column 'v'" in words


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.INTEGER, 0.0),
        (K.INTEGER, False),
        (K.INTEGER, None),
        (K.DECIMAL, "0.00"),
        (K.DECIMAL, math.nan),
        (K.FLOAT, 0),
        (K.FLOAT, math.inf),
        (K.BOOLEAN, 0),
        (K.UUID, "00000000-0000-0000-0000-000000000000"),
        (K.DATE, "2026-01-01"),
        (K.DATE, "0000-00-00"),
        (K.TIMESTAMP, date(2026, 1, 1)),
        (K.INSTANT, "2026-01-01T00:00:00Z"),
        (K.JSON, {}),
        (K.ARRAY, []),
        (K.ANY, "whatever"),
    ],
)
def test_a_value_of_absent_is_one_that_the_column_can_hold(kind: K, value: Any) -> None:
    both = shape({"id": K.INTEGER, "v": kind}, unique=[{"id"}], v={"element": K.INTEGER})
    bound(source=both, target=both, absent={"v": value})


def test_a_value_of_absent_fits_the_target_where_the_source_holds_more() -> None:
    source = shape({"id": K.INTEGER, "v": K.DECIMAL})
    target = shape({"id": K.INTEGER, "v": K.INTEGER}, unique=[{"id"}])
    assert "0.5 cannot be in the target's column" in refusal(source=source, target=target, absent={"v": 0.5})


# --- sensitive -------------------------------------------------------------------------------------------------------


def test_sensitive_columns_are_flagged() -> None:
    both = shape({"id": K.INTEGER, "a": K.TEXT, "b": K.TEXT}, unique=[{"id"}])
    assert bound(source=both, target=both, sensitive=["b"]).hidden == (False, True)


def test_a_sensitive_column_that_is_not_there_hides_nothing_and_is_refused() -> None:
    both = shape({"id": K.INTEGER, "email": K.TEXT}, unique=[{"id"}])
    words = refusal(source=both, target=both, sensitive=["emial"])
    assert "projections.p.sensitive" in words
    assert "did you mean 'email'?" in words


def test_a_key_cannot_be_hidden_and_that_is_said() -> None:
    both = shape({"email": K.TEXT, "n": K.INTEGER}, unique=[{"email"}])
    assert "projections.p.sensitive" in refusal(source=both, target=both, key=["email"], sensitive=["email"])


# --- what a repair demands -------------------------------------------------------------------------------------------

WRITERS = "same_transaction"


def test_writing_needs_writers() -> None:
    words = refusal(writing=True)
    assert "projections.p.writers" in words
    for name in ("same_transaction", "mutex", "outbox", "versioned", "absolute", "dual_write", "increments"):
        assert name in words
    bound(writing=True, writers=WRITERS)


@pytest.mark.parametrize("indexes", [[], [{"id", "at"}], [{"n"}], [{"id", "n"}, {"at"}]])
def test_writing_needs_a_unique_index_on_exactly_the_key(indexes: list[set[str]]) -> None:
    target = shape({"id": K.INTEGER, "n": K.INTEGER, "at": K.TIMESTAMP}, unique=indexes)
    words = refusal(writing=True, writers=WRITERS, target=target)
    assert "projections.p.target" in words
    assert 'CREATE UNIQUE INDEX trueup_tgt_id ON "tgt" ("id")' in words
    bound(writing=False, target=target)  # to look at is no harm


def test_an_index_on_a_part_of_the_key_is_not_enough() -> None:
    # A row of another key would be in the way of an insert.
    both = shape({"id": K.INTEGER, "b": K.INTEGER, "n": K.INTEGER}, unique=[{"id"}])
    assert "no unique index on exactly its key" in refusal(
        writing=True, writers=WRITERS, source=both, target=both, key=["id", "b"]
    )


def test_a_view_or_a_query_cannot_be_written() -> None:
    view = shape({"id": K.INTEGER, "n": K.INTEGER}, unique=[{"id"}], table=False)
    assert "only a table can be repaired" in refusal(writing=True, writers=WRITERS, target=view)
    query = Side(database="app", query="SELECT id, n FROM tgt")
    with pytest.raises(ConfigError, match="only a table can be repaired"):
        bind(projection(target=query, writers=WRITERS), SOURCE, TARGET, writing=True)


def test_a_generated_column_cannot_be_written() -> None:
    target = shape({"id": K.INTEGER, "n": K.INTEGER}, unique=[{"id"}], n={"generated": True})
    assert "'n'" in refusal(writing=True, writers=WRITERS, target=target)


@pytest.mark.parametrize("by", ["generated", "numbered"])
def test_no_row_is_inserted_with_a_key_that_the_database_makes(by: str) -> None:
    target = shape({"id": K.INTEGER, "n": K.INTEGER}, unique=[{"id"}], id={by: True})
    words = refusal(writing=True, writers=WRITERS, target=target)
    assert "projections.p.on_missing" in words
    assert "id of its key is generated" in words
    bound(writing=True, writers=WRITERS, target=target, on_missing="report")


def test_an_insert_must_be_able_to_give_every_required_column() -> None:
    target = shape({"id": K.INTEGER, "n": K.INTEGER, "at": K.TIMESTAMP}, unique=[{"id"}], at={"required": True})
    words = refusal(writing=True, writers=WRITERS, target=target)
    assert "projections.p.on_missing" in words
    assert "at must be given" in words
    bound(writing=True, writers=WRITERS, target=target, on_missing="report")


# --- the binding -----------------------------------------------------------------------------------------------------


def test_rows_are_named_for_people() -> None:
    binding = bound()
    assert binding.named_key((7,)) == {"id": 7}
    assert binding.named_values((1,)) == {"n": 1}
    assert binding.named_values(None) is None


def test_null_keys_are_possible_unless_every_part_forbids_them() -> None:
    both = shape({"id": K.INTEGER, "n": K.INTEGER}, unique=[{"id"}], id={"nullable": False})
    assert not bound(source=both, target=both).source.null_keys
    assert bound(target=both).source.null_keys


# --- nothing to compare ----------------------------------------------------------------------------------------------

SPACED = shape({"id": K.INTEGER, " n": K.INTEGER})
NAMED = shape({"id": K.INTEGER, "n": K.INTEGER})


def test_sides_that_share_nothing_but_the_key_are_refused() -> None:
    """Other capitals, or a blank in a header: the answer would be `in sync`."""
    told = refusal(source=SPACED, target=NAMED, columns=None)
    assert "projections.p: nothing but the key is on both sides" in told
    assert " n only in the source; n only in the target" in told
    there = Side(database="app", table="dst", columns={" n": "n"})
    assert bound(source=SPACED, target=NAMED, target_side=there, columns=None).columns == (" n",)


def test_who_has_keys_alone_compares_keys() -> None:
    keys = shape({"id": K.INTEGER})
    for source, target in ((keys, NAMED), (NAMED, keys), (keys, keys)):
        assert bound(source=source, target=target, columns=None).columns == ()


def test_a_column_that_is_declared_for_another_purpose_is_not_one_to_compare() -> None:
    dated = shape({"id": K.INTEGER, "at": K.INTEGER})
    assert "at only in the target" in refusal(source=NAMED, target=dated, columns=None)
    marked = {"changes": {"target": {"column": "at"}}}
    assert bound(source=NAMED, target=dated, columns=None, **marked).columns == ()
    elsewhere = {"changes": {"target": {"column": "at", "table": "events"}}}
    assert "at only in the target" in refusal(source=NAMED, target=dated, columns=None, **elsewhere)
