"""The tables of `docs/comparing.md` say what the code does."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

from trueup.core.kinds import Kind, meeting
from trueup.core.rules import Rule, Tolerance

PAGE = (Path(__file__).parents[2] / "docs" / "comparing.md").read_text()
#: Kinds with a row and a column of their own; `opaque` and `incomparable` meet nothing.
KINDS = [kind for kind in Kind if kind not in (Kind.OPAQUE, Kind.INCOMPARABLE)]
REFUSED = "-"


def table(first: str) -> dict[str, list[str]]:
    """Rows of the table whose head begins with `first`: first cell -> the others."""
    lines = PAGE[PAGE.index(f"| {first} |") :].split("\n\n", 1)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {cells[0]: cells[1:] for cells in rows if not set(cells[0]) <= {"-"}}


def test_every_pair_of_kinds() -> None:
    """To mend the page, put this there: `python -m tests.docs.test_comparing`."""
    assert pairs_table() in PAGE


def pairs_table() -> str:
    rows = [["with", *map(str, KINDS)], ["---"] * (len(KINDS) + 1)]
    rows += [[str(one), *(str(meeting(one, other) or REFUSED) for other in KINDS)] for one in KINDS]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_the_table_is_symmetric() -> None:
    rows = table("with")
    head = rows.pop("with")
    assert head == list(rows) == [str(kind) for kind in KINDS]
    for one, other in product(head, head):
        assert rows[one][head.index(other)] == rows[other][head.index(one)]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_which_kinds_have_a_tolerance_and_a_zero(kind: Kind) -> None:
    cells = table("kind of the column")[str(kind)]
    takes = [text for text in ("0.01", "1%", "1s") if not Tolerance.parse(text).unfit(kind)]
    assert re.findall(r"`([^`]*)`", cells[0]) == takes
    assert (cells[1] != REFUSED) == (Rule(kind=kind).zero is not None)


if __name__ == "__main__":
    print(pairs_table())
