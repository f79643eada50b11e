"""reladiff and data-diff, which share an interface: one table in each of two databases, hash bisection.

Task: module, source, target (URLs), source_table, target_table, key, columns, threads, and optionally
bisection_factor, bisection_threshold and skip_sort_results (reladiff only).
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from _told import Found, Task, answer, rows_to_found


def _url(url: str, module: str) -> str:
    """Both know `mysql` only; data-diff insists on a password, which a server that trusts does not look at."""
    scheme, _, rest = url.partition("://")
    scheme = {"mariadb": "mysql"}.get(scheme, scheme)
    user, at, place = rest.partition("@")
    if module == "data_diff" and scheme == "postgresql" and at and ":" not in user:
        user += ":unused"
    return f"{scheme}://{user}{at}{place.partition('?')[0]}"


def compare(task: Task) -> Found:
    name = task["module"]
    module: Any = importlib.import_module(name)
    if name == "data_diff":
        module.disable_tracking()
    tables = [
        module.connect_to_table(
            _url(task[side], name),
            task[f"{side}_table"],
            tuple(task["key"]),
            thread_count=task["threads"],
            extra_columns=tuple(task["columns"]),
        )
        for side in ("source", "target")
    ]
    optional = ("bisection_factor", "bisection_threshold", "skip_sort_results")
    options = {option: task[option] for option in optional if task.get(option)}
    if name == "reladiff":
        options["allow_empty_tables"] = True  # data-diff has no such option: there it is an error
    found = module.diff_tables(
        *tables,
        algorithm=module.Algorithm.HASHDIFF,
        max_threadpool_size=task["threads"] * 2,  # as their command lines do
        **options,
    )
    parts = len(task["key"])
    return rows_to_found([(sign, _key(values[:parts])) for sign, values in found])


def _key(parts: Any) -> str:
    return "|".join("NULL" if part is None else str(part) for part in parts)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    answer(compare)
