"""What the audit log adds to a repaired row: the same outcomes recorded with it and without it, in one ledger.

uv run python bench/audit_cost.py [sqlite:///file.db | postgresql://...] [units of 500 rows]

The ledger has to be a new one. Without: the statements of `Ledger.close_unit` that are not about the audit log.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime

import sqlalchemy as sa

from trueup.audit import Auditing
from trueup.clock import SystemClock
from trueup.core.audit_settings import AuditSettings
from trueup.core.decide import Action
from trueup.core.plan import Everything
from trueup.core.states import Outcome, Stage
from trueup.store import schema as t
from trueup.store import schema_audit as logged
from trueup.store.ledger import Ledger
from trueup.store.records import OutcomeRow, outcome_values

ROWS = 500
AT = datetime.now(UTC)
RUN = {
    "id": "r-1",
    "projection": "p",
    "command": "run",
    "definition": "d" * 64,
    "code_version": "1",
    "host": "h",
    "pid": 1,
    "actor": "me",
    "plan": None,
    "started_at": AT,
    "strategy": "",
    "columns": '["n"]',
    "hidden": "[false]",
}


def outcomes(unit: int) -> list[OutcomeRow]:
    return [
        OutcomeRow(
            key=(unit * ROWS + at,),
            outcome=Outcome.APPLIED,
            action=Action.UPDATE,
            before=(at,),
            after=(at + 1,),
            token=str(700_000 + at),
            evidence="",
            witness="unit",
        )
        for at in range(ROWS)
    ]


def without(ledger: Ledger, unit: int) -> None:
    rows = [outcome_values("r-1", f"u{unit}", item, AT) for item in outcomes(unit)]
    open_unit = (t.units.c.id == f"u{unit}") & t.units.c.closed_at.is_(None)
    with ledger.begin() as c:
        c.execute(t.units.update().where(open_unit).values(closed_at=AT))
        c.execute(t.outcomes.insert(), rows)


def timed(name: str, rows: int, work: Callable[[], object]) -> None:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name:<22} {wall / rows * 1e6:6.1f} us wall, {cpu / rows * 1e6:6.1f} us of this process, a row")


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{tempfile.mkdtemp()}/ledger.db"
    units = int(sys.argv[2]) if len(sys.argv) > 2 else 100
    ledger = Ledger(url)
    ledger.start_run(dict(RUN), [Everything()], Stage.REPAIR)
    segment = ledger.open_segments("r-1", Stage.REPAIR)[0].id
    for unit in range(2 * units):
        ledger.open_unit(f"u{unit}", "r-1", segment, [], AT)
    rows = units * ROWS
    timed("without audit", rows, lambda: [without(ledger, unit) for unit in range(units)])
    told = range(units, 2 * units)
    timed("with audit", rows, lambda: [ledger.close_unit(f"u{u}", "r-1", outcomes(u), AT, 1) for u in told])
    auditing = Auditing(ledger, AuditSettings(), SystemClock())
    timed("numbered, head made", rows, auditing.seal)
    with ledger.reading() as c:
        size = c.execute(sa.select(sa.func.sum(sa.func.length(logged.audit.c.line)))).scalar_one()
    print(f"{size / rows:.0f} bytes a row; {len(auditing.verify().problems)} problems, of which the rows without audit")
    ledger.close()


if __name__ == "__main__":
    main()
