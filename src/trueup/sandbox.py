"""A backfill tried out: all of it, on a copy of the rows that it is about, which is removed afterwards.

Nothing is told of it in the ledger but that it was done: the try has a ledger of its own, which goes with the copy.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from trueup.adapters import Adapter
from trueup.backfills import Loaded
from trueup.core.backfill import Backfill
from trueup.core.projection import Approval, Database, Limits
from trueup.errors import Refused
from trueup.report import Report

#: Nothing is beyond these: it is a copy.
_UNLIMITED = Limits(rows=2**62, share=1.0, deletes=0, collapse=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsal:
    """What happened on the copy."""

    report: Report
    #: Rows that would be changed once more by a run that knew nothing of the first: it is not idempotent.
    again: int
    #: What the copy lacks, so that it was not tried: triggers, foreign keys.
    lacking: tuple[str, ...]

    @property
    def failures(self) -> dict[str, int]:
        """Rows that failed, by why."""
        found: dict[str, int] = {}
        for row in self.report.quarantined_rows:
            found[row["reason"]] = found.get(row["reason"], 0) + 1
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        told = self.report.to_dict()
        return {"sandbox": True, "changed_again": self.again, "not_tried": list(self.lacking), **told}


def rehearse(
    loaded: Loaded, declared: Backfill, database: Database, adapter: Adapter, engine: Any, rows: int
) -> Rehearsal:
    """Carry `declared` out on a copy. `engine`: the class that does. Raises Refused where there can be no copy."""
    maker = adapter.sandbox
    if maker is None:
        raise Refused(f"{declared.name}: databases.{declared.target.database} offers no sandbox")
    shape = adapter.describe(declared.target)
    columns = [name for name, column in shape.columns.items() if not column.generated]
    assert declared.target.table is not None
    with (
        tempfile.TemporaryDirectory(prefix="trueup_sandbox_") as folder,
        maker.copied(declared.target.table, columns, declared.select) as copy,
    ):
        side = declared.target.model_copy(update={"table": copy.table})
        free = {"limits": _UNLIMITED, "approval": Approval(), "canary": None, "source": side, "target": side}
        there = Database(url=SecretStr(copy.url.get_secret_value()), statement_timeout=database.statement_timeout)

        def carried_out(command: str, ledger: str) -> Report:
            with engine(
                databases={declared.target.database: there}, projections=[], ledger=f"sqlite:///{Path(folder, ledger)}"
            ) as scratch:
                scratch.take(loaded, declared.model_copy(update=free))
                report: Report = getattr(scratch, command)(declared.name, rows=rows)
                return report

        report = carried_out("run", "first.db")
        again = carried_out("check", "second.db")
        lacking = tuple(what for what in copy.lacking if what != "triggers" or shape.triggers)
    failed = sum(count for why, count in again.passed_over.items() if why.startswith("failed"))
    left = report.left
    return Rehearsal(report=report, again=max(again.different - max(left, failed), 0), lacking=lacking)
