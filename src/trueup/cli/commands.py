"""All commands: one function a command, whose signature and docstring are its help. One module a group of them."""

from __future__ import annotations

from trueup.cli import (
    accepting,
    alerts,
    audit,
    backfill,
    begin,
    doctor,
    know,
    loop,
    pace,
    plans,
    quarantine,
    serving,
    switches,
    token,
)
from trueup.cli.options import app

__all__ = [
    "accepting",
    "alerts",
    "app",
    "audit",
    "backfill",
    "begin",
    "doctor",
    "know",
    "loop",
    "pace",
    "plans",
    "quarantine",
    "serving",
    "switches",
    "token",
]
