"""One UPDATE of one table, taken apart as it was written: nothing of the user's SQL is spelt anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

#: What may not stand in it, outside of parentheses: it would be about more than the row itself.
_BEYOND = ("FROM", "JOIN", "RETURNING", "LIMIT", "ORDER_BY", "USING", "COMMA")


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What an UPDATE says."""

    table: str
    #: Column -> the SQL of its new value.
    sets: dict[str, str]
    #: The SQL of its WHERE; empty: it has none.
    where: str


def update_of(text: str, dialect: str) -> Update:
    """`UPDATE table SET column = …, … WHERE …`, in parts. Raises ValueError, with the reason, for anything else."""
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(text, dialect=dialect)
    except SqlglotError as error:
        raise ValueError(f"it cannot be read: {error}") from None
    names = [token.token_type.name for token in tokens]
    while names and names[-1] == "SEMICOLON":
        names.pop()
    flat = list(_flat(names))
    if not names or names[0] != "UPDATE" or "SEMICOLON" in names or names.count("SET") < 1:
        raise ValueError("it has to be one UPDATE of one table: UPDATE table SET column = …, … WHERE …")
    set_at = names.index("SET")
    where_at = next((at for at in flat if names[at] == "WHERE"), len(names))
    for at in flat:
        distinct = names[at] == "FROM" and names[at - 1] == "DISTINCT"  # IS DISTINCT FROM
        if names[at] in _BEYOND and not (distinct or (names[at] == "COMMA" and set_at < at < where_at)):
            raise ValueError(
                f"{tokens[at].text.upper()} is not taken: what a row becomes has to follow from the row alone"
            )

    def cut(begin: int, end: int) -> str:
        return text[tokens[begin].start : tokens[end - 1].end + 1].strip() if begin < end else ""

    borders = [set_at, *(at for at in flat if names[at] == "COMMA"), where_at]
    sets: dict[str, str] = {}
    for begin, end in pairwise(borders):
        if end - begin < 4 or names[begin + 2] != "EQ":
            raise ValueError(f"{cut(begin + 1, end) or 'SET'!r} is not of the form column = expression")
        sets[_bare(tokens[begin + 1].text)] = cut(begin + 3, end)
    return Update(
        table=cut(1, set_at).replace('"', "").replace("`", ""), sets=sets, where=cut(where_at + 1, len(names))
    )


def columns_in(expressions: Sequence[str], dialect: str) -> list[str]:
    """Columns that SQL expressions name; none where that cannot be told."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    found: set[str] = set()
    for text in expressions:
        try:
            parsed: Any = sqlglot.parse_one(f"SELECT 1 WHERE {text}", dialect=dialect)
        except SqlglotError:
            continue
        found.update(column.name for column in parsed.find_all(exp.Column))
    return sorted(found)


def _flat(names: Sequence[str]) -> Iterator[int]:
    """Places that are in no parentheses."""
    depth = 0
    for at, name in enumerate(names):
        depth += name in ("L_PAREN", "L_BRACKET")
        depth -= name in ("R_PAREN", "R_BRACKET")
        if depth == 0:
            yield at


def _bare(name: str) -> str:
    return name.strip('"`')
