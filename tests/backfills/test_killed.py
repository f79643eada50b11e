"""A backfill that is killed (SIGKILL) at every border of its second unit, and started again: no cent is added twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backfills.shop import Shop
from tests.faults.children import children
from tests.live.harness import PATIENCE_S
from trueup import Verdict
from trueup.adapters._lots import RowPacker
from trueup.adapters._postgresql_lots import PostgresqlPacker
from trueup.adapters._sql import SqlAdapter
from trueup.store.ledger import Ledger
from trueup.store.lots import Lots

#: What is done around a unit: owner, method. Rows one by one, and in lots.
ALONE = ((SqlAdapter, "repair"), (Ledger, "close_unit"))
IN_LOTS = ((RowPacker, "carry_out"), (Lots, "close_unit"))
IN_POSTGRESQL = ((PostgresqlPacker, "carry_out"), (Lots, "close_unit"))
CASES = [
    pytest.param(
        fixture, owner, method, after, lots, id=f"{fixture}-{owner.__name__}.{method}-{'after' if after else 'before'}"
    )
    for fixture, points, lots in (
        ("sqlite_url", ALONE, False),
        ("sqlite_url", IN_LOTS, True),
        ("postgres", IN_POSTGRESQL, True),
    )
    for owner, method in points
    for after in (False, True)
]


def small_units(patch: Callable[..., None], *, lots: bool) -> None:
    """Two rows in a unit, or in a lot."""
    patch("trueup.core.plan.KEYS_PER_SEGMENT", 2)
    patch("trueup.adapters._lots.RowPacker.lot_rows", 2)
    patch("trueup.fixing.FIRST", 0)
    patch("trueup.undo.FIRST", 0)
    patch("trueup.by_lot.LOTS_AT_ONCE", 1)
    for module in ("fixing", "core.lot"):
        patch(f"trueup.{module}.LOT_MIN", 2 if lots else 1_000)


def dies(shop_url: str, folder: Path, owner: type, method: str, after: bool, lots: bool, file: Path) -> None:
    """In a process of its own: the second unit is its last."""
    from trueup import Trueup

    small_units(pytest.MonkeyPatch().setattr, lots=lots)
    calls: list[int] = []
    real = getattr(owner, method)

    def watched(*args: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) == 2 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = real(*args, **named)
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, method, watched)
    with Trueup(databases={"app": shop_url}, projections=[], ledger=f"sqlite:///{folder}/ledger.db") as engine:
        engine.run(engine.backfill(file))


@pytest.mark.parametrize(("fixture", "owner", "method", "after", "lots"), CASES)
def test_no_committed_unit_is_done_again(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fixture: str,
    owner: type,
    method: str,
    after: bool,
    lots: bool,
) -> None:
    shop = Shop(request.getfixturevalue(fixture), tmp_path, rows=16)
    before = shop.one("SELECT sum(cents) FROM customers")
    shop.db.dispose()
    small_units(monkeypatch.setattr, lots=lots)
    file = shop.money()
    child = children.Process(target=dies, args=(shop.url, tmp_path, owner, method, after, lots, file))
    child.start()
    child.join(2 * PATIENCE_S)
    assert child.exitcode == -signal.SIGKILL
    part = shop.one("SELECT sum(cents) FROM customers") - before
    assert 0 < part < 800, "it was to die in the middle"
    with shop.engine() as engine:
        again = engine.run(engine.backfill(file))
        assert again.resumed
        assert again.verdict is Verdict.REPAIRED
        assert shop.one("SELECT sum(cents) FROM customers") - before == 800
        back = engine.rollback(again.run)
        assert (back.repaired, shop.one("SELECT sum(cents) FROM customers")) == (8, before)
    shop.db.dispose()
