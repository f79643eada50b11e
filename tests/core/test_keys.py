"""Keys as programs give them: of the column's kind, or refused."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.core.test_binding import K, bound, shape
from trueup.core.binding import Binding
from trueup.core.keys import looked_up, sound_keys, spellings
from trueup.core.row import Kind
from trueup.errors import UsageError


def by(kind: Kind) -> Binding:
    both = shape({"id": kind, "n": K.INTEGER}, unique=[{"id"}])
    return bound(source=both, target=both)


@pytest.mark.parametrize(
    ("kind", "given", "meant"),
    [
        (K.INTEGER, 7, 7),
        (K.INTEGER, "7", 7),
        (K.INTEGER, 7.0, 7),
        (K.INTEGER, Decimal(7), 7),
        (K.INTEGER, True, 1),
        (K.TEXT, 7, "7"),
        (K.DATE, datetime(2026, 1, 1), date(2026, 1, 1)),
        (K.TIMESTAMP, date(2026, 1, 1), datetime(2026, 1, 1)),
        (K.ANY, 7.5, 7.5),
    ],
)
def test_a_key_is_of_its_columns_kind(kind: Kind, given: Any, meant: Any) -> None:
    ((found,),) = looked_up(by(kind), {"id": given})
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("kind", "given"),
    [(K.INTEGER, 97.5), (K.INTEGER, date(2026, 1, 1)), (K.DATE, 5), (K.DATE, datetime(2026, 1, 1, 5)), (K.UUID, 5)],
)
def test_what_is_none_of_its_columns_kind_is_refused(kind: Kind, given: Any) -> None:
    with pytest.raises(UsageError, match="p: key 'id'"):
        spellings(by(kind), {"id": given})


def test_null_names_no_row_and_costs_no_other_key() -> None:
    keys = [{"id": 1}, {"id": None}, {"id": 2.5}]
    with pytest.raises(UsageError, match="NULL names no row"):
        looked_up(by(K.INTEGER), keys[1])
    assert sound_keys(by(K.INTEGER), keys) == keys[:1]
