"""What each measured process shares: the task from its command line, the answer to stdout. Standard library only.

Each tool runs in a process of its own, under its own interpreter. What it costs is measured from outside, from the
start of the process to its end: starting the interpreter, importing and connecting are what a user pays, too.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Task = dict[str, Any]
#: What a tool found: [key as text, kind] for each row; a kind is `missing`, `extra` or `different`. None: it has
#: printed its rows itself, as JSON lines.
Found = list[list[Any]] | None


def _peak_mb() -> float:
    """Most memory this process held. Not `ru_maxrss`, which begins with what the parent held."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answer(call: Callable[[Task], Found]) -> None:
    """Do the task of the command line and tell what was found."""
    found = call(json.loads(sys.argv[1]))
    print(json.dumps({"found": found, "peak_mb": _peak_mb()}))


def answered(stdout: str) -> tuple[list[list[Any]], float]:
    """What `answer` told: what was found, and the most memory in MB."""
    *lines, last = stdout.splitlines()
    told = json.loads(last)
    found = told["found"]
    if found is None:
        found = [["|".join(map(str, row["key"].values())), row["kind"]] for row in map(json.loads, lines)]
    return found, told["peak_mb"]


def rows_to_found(signed: list[tuple[str, Any]]) -> list[list[Any]]:
    """[(`-` or `+`, key)] as reladiff and data-diff tell it: a key with both is a row that differs."""
    signs: dict[Any, set[str]] = {}
    for sign, key in signed:
        signs.setdefault(key, set()).add(sign)
    names = {"-": "missing", "+": "extra"}
    return [[key, "different" if len(of) == 2 else names[next(iter(of))]] for key, of in signs.items()]
