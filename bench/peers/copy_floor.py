"""The floor: two ordered binary COPYs by psql, compared byte by byte by cmp. It tells whether, not what.

Task: source, target (PostgreSQL URLs), source_table, target_table, key, columns.
"""

from __future__ import annotations

import os
import subprocess

from _told import Found, Task, answer


def compare(task: Task) -> Found:
    columns = ", ".join([*task["key"], *task["columns"]])
    readers = [
        subprocess.Popen(
            [
                *("psql", "-X", "-q", "-d", task[side], "-c"),
                f"COPY (SELECT {columns} FROM {task[f'{side}_table']} ORDER BY {', '.join(task['key'])})"
                " TO STDOUT (FORMAT binary)",
            ],
            stdout=subprocess.PIPE,
        )
        for side in ("source", "target")
    ]
    ends = [reader.stdout.fileno() for reader in readers if reader.stdout]
    compared = subprocess.run(["cmp", "--silent", *(f"/dev/fd/{end}" for end in ends)], pass_fds=ends, check=False)
    for end in ends:
        os.close(end)  # the readers of what differs early end by themselves
    ended = [reader.wait() for reader in readers]
    if compared.returncode == 0 and any(ended):
        raise SystemExit(f"a COPY failed: psql ended with {ended}")
    return [] if compared.returncode == 0 else [["?", "different"]]


if __name__ == "__main__":
    answer(compare)
