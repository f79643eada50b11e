"""What exactly is carried out: the declaration, where its databases are, the code. Nothing in it is a secret."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from trueup._version import __version__
from trueup.core.projection import Projection
from trueup.core.rules import Rules, rules_of
from trueup.errors import UsageError
from trueup.store.definitions import Defined, Definitions
from trueup.store.ledger import Ledger
from trueup.store.records import RunRow

#: Libraries whose version can make a difference to what is read or written.
LIBRARIES = ("sqlalchemy", "psycopg", "pymysql", "duckdb", "redis", "opensearch-py", "sqlglot", "pydantic")


def content_of(projection: Projection, at: Mapping[str, str], file: Path | None) -> dict[str, Any]:
    """What the registry keeps of a declaration. `at`: URLs without password; `file`: where it is declared."""
    declared = projection.model_dump(mode="json", exclude_defaults=True)
    code: dict[str, Any] = {"trueup": __version__, "python": platform.python_version(), "libraries": _libraries()}
    if modules := dict(_modules(declared)):
        code["modules"] = modules
    if file is not None:
        code["file"] = os.fsencode(file.resolve()).decode(errors="backslashreplace")
        if commit := commit_of(file.resolve()):
            code["git"] = commit
    kind = "backfill" if projection.itself else "projection"
    return {"kind": kind, "declared": declared, "databases": dict(at), "code": code}


def _modules(declared: Any) -> Iterator[tuple[str, str]]:
    """Modules of the user's functions that a declaration names, and the SHA-256 of each."""
    if isinstance(declared, dict):
        for name, value in declared.items():
            if name in ("python", "call") and isinstance(value, str):
                module = value.partition(":")[0]
                path = getattr(sys.modules.get(module), "__file__", None)  # it was imported to be bound
                if path and Path(path).exists():
                    yield module, hashlib.sha256(Path(path).read_bytes()).hexdigest()
            yield from _modules(value)


def commit_of(file: Path) -> str:
    """The commit that is checked out, `+` behind it where the file is not as it is in it; empty: there is none."""
    folder = file.parent
    if not any(Path(parent, ".git").exists() for parent in (folder, *folder.parents)):
        return ""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        changed = _git(folder, "status", "--porcelain", "--", str(file))
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + ("+" if changed else "")


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(  # noqa: S603 - the user's own git, on the user's own folder
        ["git", "-C", str(folder), *words],  # noqa: S607
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout.strip()


@cache
def _libraries() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def rules_then(ledger: Ledger, run: RunRow) -> Rules:
    """What a run allowed beyond equality, column by column; nothing where that was not written down."""
    kept = Definitions(ledger).of_run(run.id)
    if kept is None or not run.kinds:
        return ()
    declared, width = kept.content["declared"], len(run.kinds) - len(run.columns)
    return rules_of(declared.get("tolerance", {}), declared.get("nulls", {}), run.columns, run.kinds[width:])


def changed(before: Any, after: Any, place: str = "") -> list[tuple[str, Any, Any]]:
    """Fields in which two definitions differ, with both values; None: it is not there."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = dict.fromkeys([*before, *after])
        inner = f"{place}." if place else ""
        return [found for name in names for found in changed(before.get(name), after.get(name), f"{inner}{name}")]
    return [] if before == after else [(place, before, after)]


def history(known: Sequence[Defined], runs: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Definitions as front ends show them, oldest first, each with what changed since the one before.

    `runs`: two of them, whose definitions are compared. Raises UsageError.
    """
    if runs:
        of_run = {run: kept for kept in known for run in kept.runs}
        lacking = [run for run in runs if run not in of_run]
        if lacking or len(runs) != 2:
            raise UsageError(
                f"there is no definition of run {lacking[0]!r}"
                if lacking
                else "give two runs, to compare their definitions"
            )
        known = [of_run[run] for run in runs]
    before = [known[0], *known] if known else []
    return [
        {
            "definition": kept.sha256,
            "since": kept.first_at.isoformat(timespec="seconds"),
            "runs": len(kept.runs),
            "last_run": kept.runs[-1] if kept.runs else None,
            "code": kept.content["code"],
            "declared": kept.content["declared"],
            "changed": [
                {"field": field, "before": was, "after": now}
                for field, was, now in changed(earlier.content, kept.content)
            ],
        }
        for earlier, kept in zip(before, known, strict=False)
    ]
