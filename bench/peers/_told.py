"""What each measured process shares: the task from its command line, the answer to stdout. Standard library only.

Each tool runs in a process of its own, under its own interpreter. What is measured begins when its modules are
imported and ends with the answer as plain values; connecting is in it, starting the interpreter is not.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Task = dict[str, Any]
#: What a tool found: [key as text, kind] for each row; a kind is `missing`, `extra` or `different`.
Found = list[list[Any]]


def _cpu_s() -> float:
    """CPU time of this process and of those that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _peak_mb() -> float:
    """Most memory this process held. Not `ru_maxrss`, which begins with what the parent held."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def answer(call: Callable[[Task], Found]) -> None:
    """Do the task of the command line and tell what was found and what it cost."""
    task: Task = json.loads(sys.argv[1])
    gc.collect()
    wall, cpu = time.perf_counter(), _cpu_s()
    found = call(task)
    cost = {"wall_s": time.perf_counter() - wall, "client_cpu_s": _cpu_s() - cpu, "peak_mb": _peak_mb()}
    print(json.dumps({"found": found, "startup_cpu_s": cpu} | cost))


def rows_to_found(signed: list[tuple[str, Any]]) -> Found:
    """[(`-` or `+`, key)] as reladiff and data-diff tell it: a key with both is a row that differs."""
    signs: dict[Any, set[str]] = {}
    for sign, key in signed:
        signs.setdefault(key, set()).add(sign)
    names = {"-": "missing", "+": "extra"}
    return [[key, "different" if len(of) == 2 else names[next(iter(of))]] for key, of in signs.items()]
