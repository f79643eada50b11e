"""`trueup diff` as it is typed: one look at both sides, and all that differs as JSON lines on stdout.

Task: source, target (URLs), source_table, target_table, key, columns.
"""

from __future__ import annotations

import sys

from _told import Task, answer

from trueup.cli import main


def compare(task: Task) -> None:
    sides = [f"{task[side]}#{task[f'{side}_table']}" for side in ("source", "target")]
    columns = ["--key", ",".join(task["key"]), "--columns", ",".join(task["columns"])]
    sys.argv = ["trueup", "diff", *sides, *columns, "--format", "jsonl"]
    try:
        main()
    except SystemExit as end:
        if end.code not in (0, 1):  # in sync, drift
            raise


if __name__ == "__main__":
    answer(compare)
