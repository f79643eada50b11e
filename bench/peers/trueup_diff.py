"""`trueup diff` through the Python API: as with the peers, one look at both sides and a list of what differs.

Task: source, target (URLs), source_table, target_table, key, columns.
"""

from __future__ import annotations

from _told import Found, Task, answer

import trueup


def compare(task: Task) -> Found:
    report = trueup.diff(
        f"{task['source']}#{task['source_table']}",
        f"{task['target']}#{task['target_table']}",
        key=task["key"],
        columns=task["columns"],
        rows=0,
    )
    if len(report.drift) != report.drifted:
        raise SystemExit(f"{report.drifted} differences, {len(report.drift)} listed")
    return [["|".join(map(str, row["key"].values())), row["kind"]] for row in report.drift]


if __name__ == "__main__":
    answer(compare)
