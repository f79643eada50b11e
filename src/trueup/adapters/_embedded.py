"""What databases that live in a file have in common."""

from __future__ import annotations

from pathlib import Path

from trueup.core.findings import Finding, State, fact
from trueup.core.guarantee import Guarantee
from trueup.files import file_system, on_network


def on_local_disk(path: Path) -> Finding:
    """Is the file where its locks keep other writers out?"""
    kind = file_system(path)
    if not kind:
        why = "over a network the file's lock may not keep another machine's writers out"
        return Finding(check="file system", state=State.NOT_AVAILABLE, seen="this system does not tell it", why=why)
    return fact(
        "file system",
        not on_network(kind),
        kind,
        why="over a network the file's lock does not surely keep another machine's writers out",
        remedy=f"move {path} to a local disk",
        cap=Guarantee.REPORT_ONLY,
    )
