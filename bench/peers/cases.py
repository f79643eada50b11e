"""reladiff or data-diff on many small cases, one after another; what one of them raises is its answer.

Task: what segments.py takes for one comparison, and `cases`: a list of source_table, target_table, key, columns.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from segments import compare

#: Seconds that one case of a few rows may take.
CASE_S = 60


def one(task: dict[str, Any]) -> dict[str, Any]:
    """`found` as [key, kind], or `raised` with class and message."""
    with ThreadPoolExecutor(1) as aside:
        try:
            return {"found": aside.submit(compare, task).result(timeout=CASE_S)}
        except BaseException as error:  # whatever it is, it is what this peer says of the case
            return {"raised": type(error).__name__, "message": str(error).strip().partition("\n")[0][:300]}


def main() -> None:
    logging.disable(logging.WARNING)
    task = json.loads(sys.stdin.read())
    importlib.import_module(task["module"])
    print(json.dumps([one({**task, **case}) for case in task["cases"]]))


if __name__ == "__main__":
    main()
