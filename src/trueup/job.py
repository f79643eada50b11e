"""What a run is asked to do, and with what."""

from __future__ import annotations

import getpass
import os
import uuid
from dataclasses import dataclass

from trueup.adapters import Adapter
from trueup.clock import Clock
from trueup.core.guarantee import Promise
from trueup.core.row import Key
from trueup.observe import Progress
from trueup.side_by_side import Pair
from trueup.store.ledger import Ledger
from trueup.store.standing import PlanRow, Standing


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What a run is asked to do, and with what."""

    #: `check`, `plan`, `apply` or `run`.
    command: str
    pair: Pair
    target: Adapter
    promise: Promise
    settle_s: float
    ledger: Ledger
    standing: Standing
    clock: Clock
    progress: Progress
    #: Fingerprint of the declaration.
    definition: str
    #: Explicit keys; None: all.
    keys: tuple[Key, ...] | None = None
    #: The plan to carry out, for `apply`.
    plan: PlanRow | None = None
    #: Rows listed in the report; 0: all.
    rows: int = 100

    @property
    def name(self) -> str:
        return self.pair.name

    @property
    def writes(self) -> bool:
        return self.command in ("run", "apply")


@dataclass(kw_only=True, slots=True)
class Stop:
    """Set from outside (Ctrl-C, a signal) to end the run after the segment at hand."""

    asked: bool = False
    reason: str = ""


def actor() -> str:
    """Who is running this, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def new_id(prefix: str) -> str:
    """`r-…` for a run, `p-…` for a plan."""
    return f"{prefix}-{uuid.uuid4().hex[:10]}"
