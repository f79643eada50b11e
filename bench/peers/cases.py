"""reladiff or data-diff on many small cases, each in a process of its own; what one of them raises is its answer.

A connection that an error broke would be used again by the next case otherwise: both keep them for a URL.

Task: what segments.py takes for one comparison, and `cases`: a list of source_table, target_table, key, columns.
"""

from __future__ import annotations

import importlib
import json
import logging
import multiprocessing
import sys
from typing import Any

from segments import compare

#: Seconds that a case of a few rows may take.
CASE_S = 60


def one(task: dict[str, Any]) -> dict[str, Any]:
    """`found` as [key, kind], or `raised` with class and message."""
    try:
        return {"found": compare(task)}
    except BaseException as error:  # whatever it is, it is what this peer says of the case
        return {"raised": type(error).__name__, "message": str(error).strip().partition("\n")[0][:300]}


def main() -> None:
    logging.disable(logging.WARNING)
    task = json.loads(sys.stdin.read())
    importlib.import_module(task["module"])
    with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
        asked = [pool.apply_async(one, ({**task, **case},)) for case in task["cases"]]
        print(json.dumps([answer.get(timeout=CASE_S * len(asked)) for answer in asked]))


if __name__ == "__main__":
    main()
