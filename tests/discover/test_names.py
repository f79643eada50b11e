"""What names say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.discover import names

WORDS = st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
NAMES = st.lists(WORDS, min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("column", "table"),
    [
        ("comments_count", "comments"),
        ("num_comments", "blog_comment"),
        ("commentsCount", "Comment"),
        ("nb_replies", "forum_reply"),
        ("approved_posts_count", "posts"),
        ("followers_count", "follow"),
        ("members", "membership"),
        ("votes", "poll_vote"),
    ],
)
def test_a_column_names_rows(column: str, table: str) -> None:
    assert names.means_rows(column, table) >= 0.65


@pytest.mark.parametrize(
    ("column", "table"), [("views_count", "comments"), ("position", "posts"), ("count", "posts"), ("total", "posts")]
)
def test_a_column_does_not(column: str, table: str) -> None:
    assert names.means_rows(column, table) < 0.65


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("replies", "reply"),
        ("boxes", "box"),
        ("classes", "class"),
        ("children", "child"),
        ("status", "status"),
        ("s", "s"),
    ],
)
def test_singular(word: str, one: str) -> None:
    assert names.singular(word) == one


@given(NAMES)
def test_words_do_not_depend_on_the_spelling(parts: list[str]) -> None:
    snake = "_".join(parts)
    camel = parts[0] + "".join(part.capitalize() for part in parts[1:])
    assert names.words(snake) == tuple(parts)
    if all(len(part) > 1 for part in parts):
        assert names.words(camel) == tuple(parts)


@given(WORDS, WORDS)
def test_alike_has_no_direction(one: str, other: str) -> None:
    assert names.alike(one, other) == names.alike(other, one)
    assert names.alike(one, one) == 1.0


@given(NAMES)
def test_a_reference_names_its_own_table_best(parts: list[str]) -> None:
    """`<table>_id` names the table, and no table with a word more as surely."""
    table = "_".join(parts)
    stem = names.stem_of_reference(f"{table}_id")
    if set(parts) & names.REFERRING or len(set(map(names.singular, parts))) != len(parts):
        return
    assert names.names_table(stem, table) == 1.0
    assert names.names_table(stem, f"zz_{table}") < 1.0


@given(st.lists(WORDS, min_size=3, max_size=6, unique=True), WORDS)
def test_a_prefix_is_what_all_begin_with(parts: list[str], prefix: str) -> None:
    assert names.prefix_of([f"{prefix}_{part}" for part in parts]) == f"{prefix}_"
    assert names.prefix_of([*(f"{prefix}_{part}" for part in parts), "other"]) == ""
