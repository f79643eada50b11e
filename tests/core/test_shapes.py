"""What is taken for another column, though it has the same name and type: it was dropped, and added again."""

from __future__ import annotations

import json
from typing import Any

from tests.core.values import projection
from trueup.core.binding import Binding, Column, Shape, bind
from trueup.core.kinds import Kind
from trueup.core.shapes import changes, other_values, written


def bound(*target: str, numbers: tuple[int, ...] = (), table: bool = True) -> Binding:
    """A binding that compares `n`; `target`: the columns of that side, in their order."""
    known = numbers or (0,) * len(target)
    columns = {
        name: Column(name=name, kind=Kind.INTEGER, type_name="int", number=number)
        for name, number in zip(target, known, strict=True)
    }
    source = Shape(columns={name: Column(name=name, kind=Kind.INTEGER, type_name="int") for name in ("id", "n")})
    return bind(projection(columns=("n",)), source, Shape(columns=columns, table=table), writing=False)


def kept(binding: Binding) -> dict[str, Any]:
    """As the ledger gives it back."""
    told: dict[str, Any] = json.loads(json.dumps(written(binding)))
    return told


def test_a_column_with_another_number_is_another() -> None:
    before = kept(bound("id", "n", numbers=(1, 2)))
    assert other_values(before, bound("id", "n", numbers=(1, 2))) == []
    assert other_values(before, bound("id", "n", numbers=(1, 3))) == ["target: column 'n' was dropped and added again"]


def test_where_there_is_no_number_the_order_tells() -> None:
    before = kept(bound("id", "n", "note"))
    assert other_values(before, bound("id", "n", "note", "more")) == []
    assert other_values(before, bound("more", "id", "n")) == []
    assert other_values(before, bound("id", "note", "n")) == ["target: column 'n' is behind one that it was before"]
    assert other_values(kept(bound("id", "note", "n")), bound("id", "n", "note")) == [], "a column that nobody reads"
    view = kept(bound("id", "n", "note", table=False))
    assert other_values(view, bound("id", "note", "n", table=False)) == []


def test_what_an_older_version_wrote_down_has_no_numbers() -> None:
    before = kept(bound("id", "n"))
    assert "numbers" not in before["target"]
    assert other_values(before, bound("id", "n", numbers=(1, 7))) == []


def test_a_run_or_plan_is_not_stopped_by_a_number() -> None:
    """The values are read again before they are written; what stops it is another type, and the like."""
    one, other = (kept(bound("id", "n", numbers=numbers)) for numbers in ((1, 2), (1, 3)))
    assert changes(one, other) == []
    assert changes(kept(bound("id", "n")), other) == []
