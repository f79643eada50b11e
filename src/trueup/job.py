"""What a run is asked to do, and with what."""

from __future__ import annotations

import getpass
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from trueup.adapters import Adapter
from trueup.clock import Clock
from trueup.core.guarantee import Promise
from trueup.core.partition import Slice
from trueup.core.projection import Projection
from trueup.core.row import Key
from trueup.errors import LedgerFailed, TrueupError
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
    #: Partitions that were asked for; None: all.
    partitions: tuple[Slice, ...] | None = None
    #: Read everything, whatever could be taken as unchanged.
    full: bool = False
    #: The plan to carry out, for `apply`.
    plan: PlanRow | None = None
    #: Rows listed in the report; 0: all.
    rows: int = 100

    @property
    def name(self) -> str:
        return self.pair.name

    @property
    def one_look(self) -> bool:
        """One look at a row is proof, so what was counted is drift. Not of a row that may be in two partitions."""
        binding = self.pair.binding
        return self.settle_s == 0 and binding.one_database and not binding.movable

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


@contextmanager
def discreet(projection: Projection) -> Iterator[None]:
    """Around everything that reads rows: where columns are sensitive, no driver's own words leave it.

    A driver quotes the value that it stumbled over ('invalid input syntax for type integer: "..."'). Errors that are
    ours hold no values; they are known by having no driver's error behind them.
    """
    try:
        yield
    except LedgerFailed:
        raise
    except TrueupError as error:
        behind = error.__cause__
        if not projection.sensitive or behind is None or isinstance(behind, TrueupError):
            raise
        raise type(error)(
            f"{projection.name}: a database refused to go on ({type(behind).__name__}); what it says may hold values "
            f"of sensitive columns, and is neither shown nor kept. Run the query by hand to see it"
        ) from None
