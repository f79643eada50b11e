"""The comparison of two sides is built once, whatever range it is asked about."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.worlds import World
from trueup.adapters import _built
from trueup.core.plan import Range
from trueup.core.row import Key

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}"
OF_TEXT = "id {text} PRIMARY KEY NOT NULL, v {integer}"


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was built, in turn."""
    made: list[object] = []
    once = _built.Built.once

    def counted(self: _built.Built, of: object, about: Any, build: Any) -> Any:
        def building() -> object:
            made.append(about)
            return build()

        return once(self, of, about, building)

    monkeypatch.setattr(_built.Built, "once", counted)
    return made


def found(app: Any, *ranges: tuple[Key | None, Key | None]) -> list[tuple[int, int]]:
    """Rows of both sides in each range."""
    binding = app.binding("p", writing=False)
    looks = [app._adapter("a").differences(binding, Range(lower=low, upper=high)) for low, high in ranges]
    return [(look.counts.source_rows, look.counts.target_rows) for look in looks]


def test_one_statement_for_all_ranges(together: World, builds: list[object]) -> None:
    together.tables(COLUMNS, [(n, n) for n in range(20)], [(n, n) for n in range(10)])
    asked = [((0,), (5,)), ((5,), (12,)), ((12,), (10**6,)), (None, (3,)), ((17,), None)]
    assert found(together.app(), *asked) == [(5, 5), (7, 5), (8, 0), (3, 3), (3, 0)]
    assert len(builds) == 3  # between two ends, up to one, from one on


def test_text_is_an_end_as_it_is(together: World, builds: list[object]) -> None:
    together.tables(OF_TEXT, [("a", 1), ("b'", 2), ("%s", 3)], [("a", 1)])
    assert found(together.app(), (("a",), ("b'",)), (("b'",), ("c",)), (("%",), ("%z",))) == [(1, 1), (1, 0), (1, 0)]
    assert len(builds) == 1


def test_the_oldest_goes_first() -> None:
    built = _built.Built()
    kept, made = object(), []
    for at in range(_built.KEPT_MAX + 1):
        built.once(kept, at, lambda at=at: made.append(at))  # type: ignore[misc]
    built.once(kept, _built.KEPT_MAX, lambda: made.append("again"))
    built.once(kept, 0, lambda: made.append("gone"))
    assert made[-2:] == [_built.KEPT_MAX, "gone"]


def test_who_is_equal_is_somebody_else() -> None:
    built, one, other = _built.Built(), [0], [0]
    assert built.once(one, "it", object) is built.once(one, "it", object)
    assert built.once(one, "it", object) is not built.once(other, "it", object)
