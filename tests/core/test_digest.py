"""Digests: which hash two databases agree on, and what differs by it. An oracle says what has to come out."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core import digest
from trueup.core.binding import Binding, Column, Shape, bind
from trueup.core.digest import (
    Digest,
    Hashing,
    Prints,
    RowHash,
    agree,
    differing,
    keys_that_differ,
    rows_in,
)
from trueup.core.kinds import Kind
from trueup.core.projection import Projection, Side

OWN = RowHash(name="own", proof="17", portable=False)
MD5 = RowHash(name="md5", proof="abc", portable=True)

#: A kind and the name of its type.
Type = tuple[Kind, str]
INTEGER: Type = (Kind.INTEGER, "bigint")
TEXT: Type = (Kind.TEXT, "text")
FLOAT: Type = (Kind.FLOAT, "double precision")


def bound(
    source: Type = TEXT, target: Type = TEXT, *, key: tuple[Type, Type] = (INTEGER, INTEGER), **declared: Any
) -> Binding:
    """A projection with the key `id` and one column `v`."""
    unique = declared.pop("unique", (True, True))
    shapes = [
        Shape(
            columns={
                name: Column(name=name, kind=of[0], type_name=of[1], nullable=False)
                for name, of in (("id", id_), ("v", v))
            },
            unique=(frozenset({"id"}),) if is_unique else (),
        )
        for id_, v, is_unique in zip(key, (source, target), unique, strict=True)
    ]
    sides = {role: Side(database=role, table="t") for role in ("source", "target")}
    projection = Projection(name="p", key=("id",), **sides, **declared)
    return bind(projection, *shapes, writing=False)


def test_the_first_hash_that_both_have_is_taken() -> None:
    hashing, why = agree(bound(), [OWN, MD5], [MD5, OWN])
    assert hashing is not None
    assert (hashing.name, why) == ("own", "rows are hashed by own")
    assert (hashing.key, hashing.values) == ((Kind.INTEGER,), (Kind.TEXT,))
    assert hashing.kinds == (Kind.INTEGER, Kind.TEXT)


@pytest.mark.parametrize("other", [dataclasses.replace(OWN, proof="18"), dataclasses.replace(OWN, name="other")])
def test_a_hash_of_another_name_or_proof_is_another_hash(other: RowHash) -> None:
    assert agree(bound(), [OWN], [other]) == (None, "the two databases have no row hash in common")
    hashing, _ = agree(bound(), [OWN, MD5], [other, MD5])
    assert hashing is not None
    assert hashing.name == "md5"


@pytest.mark.parametrize(("source", "target"), [([], []), ([OWN], []), ([], [MD5])])
def test_without_a_common_hash_there_is_none(source: list[RowHash], target: list[RowHash]) -> None:
    assert agree(bound(), source, target) == (None, "the two databases have no row hash in common")


@pytest.mark.parametrize("unique", [(True, False), (False, True), (False, False)])
def test_a_key_that_may_repeat_is_not_hashed(unique: tuple[bool, bool]) -> None:
    assert agree(bound(unique=unique), [OWN], [OWN]) == (None, "a key that may repeat is compared row by row")


@pytest.mark.parametrize(
    "declared", [{"tolerance": {"v": "0.1"}}, {"nulls": {"v": "zero"}}, {"nulls": {"v": "unknown"}}]
)
def test_what_a_team_allows_is_asked_of_values(declared: dict[str, Any]) -> None:
    hashing, why = agree(bound(INTEGER, INTEGER, **declared), [OWN], [OWN])
    assert hashing is None
    assert "tolerance" in why


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((Kind.UUID, "uuid"), (Kind.TEXT, "text")),
        ((Kind.DATE, "date"), (Kind.TIMESTAMP, "timestamp")),
        ((Kind.FLOAT, "real"), (Kind.FLOAT, "double precision")),
        ((Kind.FLOAT, "real"), (Kind.INTEGER, "bigint")),
        ((Kind.BOOLEAN, "boolean"), (Kind.DECIMAL, "numeric")),
        ((Kind.JSON, "json"), (Kind.JSON, "jsonb")),
        ((Kind.INTERVAL, "interval"), (Kind.INTERVAL, "interval")),
        ((Kind.ANY, "DATE"), (Kind.DATE, "date")),
    ],
)
def test_a_pair_that_has_no_common_spelling_is_named(source: Type, target: Type) -> None:
    hashing, why = agree(bound(source, target), [OWN, MD5], [OWN, MD5])
    assert hashing is None
    assert "'v'" in why
    assert source[1] in why
    assert target[1] in why


@pytest.mark.parametrize("kind", [FLOAT, (Kind.TIME, "time")])
def test_stored_values_hash_alike_where_no_text_does(kind: Type) -> None:
    hashing, _ = agree(bound(kind, kind), [MD5, OWN], [OWN, MD5])
    assert hashing is not None
    assert hashing.name == "own", "the portable one comes first and does not fit"
    assert agree(bound(kind, kind), [MD5], [MD5])[0] is None


@pytest.mark.parametrize("offer", [OWN, MD5])
def test_documents_of_one_type_are_hashed_as_they_are_spelt(offer: RowHash) -> None:
    hashing, _ = agree(bound((Kind.JSON, "json"), (Kind.JSON, "json")), [offer], [offer])
    assert hashing is not None


@pytest.mark.parametrize(
    ("source", "target", "kind"),
    [
        (INTEGER, (Kind.DECIMAL, "numeric"), Kind.DECIMAL),
        ((Kind.DECIMAL, "numeric"), INTEGER, Kind.DECIMAL),
        (INTEGER, (Kind.BOOLEAN, "boolean"), Kind.INTEGER),
        ((Kind.BOOLEAN, "boolean"), INTEGER, Kind.INTEGER),
    ],
)
def test_numbers_of_two_kinds_are_spelt_as_the_wider(source: Type, target: Type, kind: Kind) -> None:
    for offer in (OWN, MD5):
        hashing, _ = agree(bound(source, target), [offer], [offer])
        assert hashing is not None
        assert hashing.values == (kind,)


def test_a_key_of_two_kinds_is_not_hashed() -> None:
    """Its parts would not be spelt alike."""
    hashing, why = agree(bound(key=((Kind.DATE, "date"), (Kind.TIMESTAMP, "timestamp"))), [OWN, MD5], [OWN, MD5])
    assert hashing is None
    assert "'id'" in why


@pytest.mark.parametrize(
    ("source", "target", "same"),
    [
        ("numeric(12,2)", "decimal(14, 2)", True),
        ("numeric(12,2)", "numeric(12,4)", False),
        ("numeric", "numeric", False),
        ("numeric(12,2)", "numeric", False),
        ("numeric(3,-2)", "numeric(3,-2)", False),
    ],
)
def test_one_scale_on_both_sides_needs_no_spelling(source: str, target: str, same: bool) -> None:
    hashing, _ = agree(bound((Kind.DECIMAL, source), (Kind.DECIMAL, target)), [OWN], [OWN])
    assert hashing is not None
    assert hashing.as_they_are == (False, same)


def test_a_hashing_has_509_leaves_unless_told() -> None:
    assert Hashing(name="own", key=(), values=(), as_they_are=()).leaves == 509


LEAF = st.builds(lambda rows, content: Digest(rows=rows, content=content), st.integers(1, 2), st.sampled_from("ab"))
LEAVES = st.dictionaries(st.integers(-3, 3), LEAF)


@given(LEAVES, LEAVES)
def test_leaves_that_differ_are_all_that_are_not_there_twice(
    source: dict[object, Digest], target: dict[object, Digest]
) -> None:
    found = differing(source, target)
    assert len(found) == len(set(found))
    same = {leaf for leaf, _ in source.items() & target.items()}
    assert set(found) == (source.keys() | target.keys()) - same
    assert differing(source, source) == []


def test_a_leaf_that_is_not_known_is_never_the_same() -> None:
    leaf = {0: Digest(rows=1, content=None)}
    assert differing(leaf, leaf) == [0]


def test_a_range_without_rows_is_the_same() -> None:
    nothing = {0: Digest(rows=0, content=None)}
    assert differing(nothing, nothing) == []
    assert differing(nothing, {0: Digest(rows=1, content=None)}) == [0]


def test_a_count_alone_makes_a_leaf_differ() -> None:
    assert differing({0: Digest(rows=1, content="a")}, {0: Digest(rows=2, content="a")}) == [0]


@given(LEAVES, st.lists(st.integers(-4, 4), unique=True))
def test_rows_in_leaves(digests: dict[object, Digest], leaves: list[object]) -> None:
    assert rows_in(digests) == sum(digest.rows for digest in digests.values())
    assert rows_in(digests, leaves) == sum(digest.rows for leaf, digest in digests.items() if leaf in leaves)
    assert rows_in(digests, []) == 0


#: A key's hash and a row's, in a small space so that rows meet.
HASH = st.binary(min_size=2, max_size=2).map(lambda two: bytes(b"ab"[byte % 2] for byte in two))
PRINTED = st.dictionaries(HASH, HASH)


def packed(rows: dict[bytes, bytes]) -> Prints:
    return Prints(width=4, packed=b"".join(key + row for key, row in rows.items()))


@given(PRINTED, PRINTED)
def test_keys_that_differ_against_an_oracle(source: dict[bytes, bytes], target: dict[bytes, bytes]) -> None:
    expected = sorted(key for key in source.keys() | target.keys() if source.get(key) != target.get(key))
    assert keys_that_differ(packed(source), packed(target)) == expected
    assert len(packed(source)) == len(source)


def test_two_keys_with_one_hash_are_both_looked_at() -> None:
    """Rows of different keys may share the hash of the key; either of them differing is enough."""
    source = Prints(width=4, packed=b"kk11" + b"kk22")
    assert keys_that_differ(source, Prints(width=4, packed=b"kk22" + b"kk11")) == []
    assert keys_that_differ(source, Prints(width=4, packed=b"kk11" + b"kk33")) == [b"kk"]


def test_bytes_are_cut_where_rows_end() -> None:
    """Naively sought in the text, `bc11` would be found in `abbc` and `11..`."""
    source = Prints(width=4, packed=b"abbc" + b"11zz")
    assert b"bc11" in source.packed
    assert keys_that_differ(source, Prints(width=4, packed=b"bc11")) == [b"11", b"ab", b"bc"]


#: Rows in a row that are missing, extra, different or the same, on both sides.
STRETCHES = st.lists(
    st.tuples(st.sampled_from(["missing", "extra", "different", "same", "swapped"]), st.integers(1, 200)), max_size=12
)


def stretched(stretches: list[tuple[str, int]]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Rows of the source and of the target in one order but where they are swapped, and the keys that differ."""
    source: list[bytes] = []
    target: list[bytes] = []
    differing: list[bytes] = []
    number = 0
    for kind, many in stretches:
        keys = [at.to_bytes(2, "big") for at in range(number, number + many)]
        number += many
        here = [key + b"aa" for key in keys]
        source += here if kind != "extra" else []
        target += {"missing": [], "different": [key + b"bb" for key in keys], "swapped": here[::-1]}.get(kind, here)
        differing += keys if kind in ("missing", "extra", "different") else []
    return source, target, differing


@given(STRETCHES)
def test_keys_that_differ_in_long_stretches(stretches: list[tuple[str, int]]) -> None:
    source, target, differing = stretched(stretches)
    one, other = (Prints(width=4, packed=b"".join(rows)) for rows in (source, target))
    assert keys_that_differ(one, other) == differing
    assert keys_that_differ(other, one) == differing


@given(STRETCHES, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(stretches: list[tuple[str, int]], random: Random) -> None:
    source, target, differing = stretched(stretches)
    random.shuffle(target)
    one, other = (Prints(width=4, packed=b"".join(rows)) for rows in (source, target))
    assert keys_that_differ(one, other) == differing


def headless(rows: list[bytes]) -> Prints:
    """As a database sends rows of two bytes of key and two of the row, without the hash of the first."""
    return Prints(width=4, packed=b"".join(row[2:] + row[:2] for row in rows)[2:], headless=bool(rows))


@given(STRETCHES, st.booleans(), st.booleans())
def test_first_rows_without_a_hash_count_as_different(
    stretches: list[tuple[str, int]], one_whole: bool, other_whole: bool
) -> None:
    """Also where only one of the two sides was sent so, or one is empty: the other differences are the same."""
    source, target, differing = stretched(stretches)
    one = Prints(width=4, packed=b"".join(source)) if one_whole else headless(source)
    other = Prints(width=4, packed=b"".join(target)) if other_whole else headless(target)
    assert (len(one), len(other)) == (len(source), len(target))
    firsts = [rows[0][:2] for rows in (source, target) if rows]
    unknown = firsts if one.headless or other.headless else []
    assert keys_that_differ(one, other) == sorted({*differing, *unknown})


def test_what_is_in_order_is_not_looked_at_row_by_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gap in the middle of one side, and a few rows that differ: the rest is passed over whole."""
    looked: list[int] = []
    real = digest._rows

    def counting(packed: bytes, width: int) -> list[bytes]:
        looked.append(len(packed) // width)
        return real(packed, width)

    monkeypatch.setattr(digest, "_rows", counting)
    source, target, differing = stretched([("same", 9000), ("missing", 40), ("same", 9000), ("different", 2)])
    one, other = (Prints(width=4, packed=b"".join(rows)) for rows in (source, target))
    assert keys_that_differ(one, other) == differing
    assert 40 < sum(looked) < 1000
    monkeypatch.setattr(digest, "UNMATCHED_SHARE", 0)
    looked.clear()
    assert keys_that_differ(one, other) == differing
    assert sum(looked) == len(source) + len(target), "the control has to look at all of them"
