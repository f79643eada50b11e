"""What a handler is given: one decision, with everything that another system needs to act once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One decided row, handed to a handler.

    It is handed over *at least once*: after a crash, or an error that would pass, again with the same
    `idempotency_key`. Whatever the handler does has to be harmless the second time.
    """

    #: The same for each try of one correction, and another for every other.
    idempotency_key: str
    projection: str
    #: `missing`, `extra` or `different`.
    kind: str
    key: Mapping[str, Any]
    #: What the source says, by column; None: it has no such row.
    expected: Mapping[str, Any] | None
    #: What the target holds; None: no row.
    observed: Mapping[str, Any] | None
    run: str
    #: The plan that is carried out; "": none.
    plan: str
    #: Who asked for it, and the people who approved the plan.
    actor: str
    approved_by: tuple[str, ...]
    #: Why, in words.
    reason: str
    #: 1 at the first try.
    attempt: int
    #: When this try was begun.
    at: datetime


#: Does what has to be done; what it returns is kept as evidence, cut to a line. Raises `Transient` (or an error of a
#: time limit or connection) to be tried again, `DataProblem` to have the row left out, anything else to end the run.
Handler: TypeAlias = Callable[[Call], object]
