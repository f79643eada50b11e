"""Errors, classed by what the engine must do with them.

    TrueupError
    ├── UsageError            the caller's input is wrong; nothing was read           exit 2
    │   ├── ConfigError       a declaration is wrong: names the place and the remedy
    │   ├── NotThere          something is asked for that is not there
    │   └── ConnectionFailed  a database could not be reached at all
    ├── Transient             would likely pass on another try: retry, bounded; then the projection is paused
    │   ├── Busy              a lock or a connection slot was not to be had in time
    │   ├── StatementTimeout  a statement hit its upper limit
    │   ├── Unheard           what events come from could not be reached, or went away
    │   └── Paused            the engine's own pause after such errors is not over yet
    ├── DataProblem           this row or value cannot be handled: go on without it
    ├── DesignProblem         the declaration does not fit what the database does: stop the run
    │   └── BrokenRead        a read did not prove that it reached its end
    ├── LedgerFailed          our own records cannot be kept: do nothing that is not recorded
    ├── Refused               a limit, a guard or a person said no                     exit 4
    │   ├── SchemaChanged     a side is no longer what the run or plan was made for
    │   └── TakenOver         another run has the fence: touch nothing more
    └── Interrupted           stopped on request; the run can be resumed

Drivers' own exceptions are translated in exactly one function of each adapter.
"""

from __future__ import annotations

import re


class TrueupError(Exception):
    """Base of everything that Trueup raises on purpose.

    The message says what happened, to which projection or segment, and what to do next.
    """

    #: Exit code of the command line for this error.
    exit_code = 3


class UsageError(TrueupError):
    """The caller's input is wrong; nothing was read and nothing was changed."""

    exit_code = 2


class ConfigError(UsageError):
    """A declaration is wrong. The message names the place in the configuration and the remedy."""


class NotThere(UsageError):
    """There is nothing of this name: no such projection, run, plan, token."""


class ConnectionFailed(UsageError):
    """A database could not be reached, or refused us."""


class Transient(TrueupError):
    """Would likely succeed on another try."""

    @property
    def database(self) -> str:
        """The declared database that it came from, as every adapter's message begins; "": none."""
        found = re.match(r"databases\.([^:,]+)[:,]", str(self))
        return found[1] if found else ""


class Busy(Transient):
    """A lock was not to be had within its time limit, or the database chose us as deadlock victim."""


class StatementTimeout(Transient):
    """A statement reached its upper time limit and was cancelled by the database."""


class Unheard(Transient):
    """A broker or database that events come from could not be reached, or went away. It is tried again."""


class Paused(Transient):
    """The engine paused this projection after transient errors, and the pause is not over. Nothing was read."""


class DataProblem(TrueupError):
    """One row or value cannot be handled; the rest can."""


class DesignProblem(TrueupError):
    """The declaration does not fit what the database does; going on would be wrong."""


class BrokenRead(DesignProblem):
    """A read did not prove that it reached its end, so what it returned counts for nothing."""


class LedgerFailed(TrueupError):
    """The ledger cannot be read or written. Nothing was done that it does not know of."""


class Refused(TrueupError):
    """A limit, a guard or a person said no; an approval or a changed limit is needed."""

    exit_code = 4


class SchemaChanged(Refused):
    """A side is no longer what the run or the plan was made for. The message names what changed."""


class TakenOver(Refused):
    """Another run raised the fence: the target, and the records of this run, are the other's now."""


class Interrupted(TrueupError):
    """Stopped on request at a segment border; `trueup run` resumes."""

    exit_code = 3
