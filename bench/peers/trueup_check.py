"""`trueup check` through the Python API, with a ledger of its own that is gone afterwards.

Task: source, target (URLs), source_table, target_table, key, columns, statement_timeout_s.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from _told import Found, Task, answer

from trueup import Database, Projection, Side, Trueup


def compare(task: Task) -> Found:
    databases = {
        side: Database.model_validate({"url": task[side], "statement_timeout": task["statement_timeout_s"]})
        for side in ("source", "target")
    }
    projection = Projection(
        name="t",
        source=Side(database="source", table=task["source_table"]),
        target=Side(database="target", table=task["target_table"]),
        key=tuple(task["key"]),
        columns=tuple(task["columns"]),
        settle=0,  # waiting is not work
    )
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        ledger = f"sqlite:///{Path(folder) / 'ledger.db'}"
        with Trueup(databases=databases, projections=[projection], ledger=ledger) as app:
            report = app.check("t", rows=0)
    if str(report.verdict) not in ("drift", "in_sync"):
        raise SystemExit(f"check says {report.verdict}: {report.reason}")
    if len(report.drift) != report.drifted:
        raise SystemExit(f"{report.drifted} differences, {len(report.drift)} listed")
    return [["|".join(map(str, row["key"].values())), row["kind"]] for row in report.drift]


if __name__ == "__main__":
    answer(compare)
