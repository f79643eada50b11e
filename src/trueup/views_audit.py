"""What front ends show of the audit log, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.audit import Checked
    from trueup.view import View


def audit(engine: Trueup) -> View:
    """How the audit log stands, as plain values."""
    found = engine.audit.standing()
    now = engine.clock.now()
    return {
        "origin": found.origin,
        "lines": found.size - found.first,
        "first": found.first,
        "head": None if found.last is None else found.last.head.size,
        "head_at": None if found.last is None else found.last.at,
        "signed": found.last is not None and "\u2014 " in found.last.note,
        "unsequenced": found.staged,
        "unsequenced_age_seconds": None if found.oldest is None else (now - found.oldest).total_seconds(),
    }


def audit_line(told: dict[str, Any]) -> View:
    """One line of the audit log, as a row of a list."""
    rows = told.get("rows")
    what = f"{rows['count']} rows" if isinstance(rows, dict) and "count" in rows else ""
    return {
        "seq": told["seq"],
        "at": told["at"],
        "who": told["actor"]["name"],
        "act": told["act"],
        "projection": told.get("projection", ""),
        "run": told.get("run", ""),
        "what": told.get("reason") or told.get("verdict") or told.get("plan") or what,
    }


def audit_check(found: Checked) -> View:
    """What a check of the audit log found."""
    signed = f"{found.signed} of them signed by the known key" if found.signed else "no signature was checked"
    end = found.first + found.lines
    return {
        "origin": found.origin,
        "first": found.first,
        "lines": found.lines,
        "heads": found.heads,
        "signed": found.signed,
        "unsequenced": found.staged,
        "problems": found.problems,
        "summary": f"{found.origin}: lines {found.first} to {end}, {found.heads} heads agree, {signed}; "
        f"{len(found.problems)} problems",
    }
