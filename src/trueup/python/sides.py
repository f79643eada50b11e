"""A side as a Python function: what it is asked for, and what it has to say in the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypeVar

#: A row: values by column, or in the order of the declared columns.
Row: TypeAlias = Mapping[str, Any] | Sequence[Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What of a side is asked for. More may be delivered: rows outside of it are left out."""

    #: Columns that are needed, by the side's own names: the key's first.
    columns: tuple[str, ...]
    #: Rows of these keys, whichever of them there are; None: it is not asked by key.
    keys: Sequence[Mapping[str, Any]] | None = None
    #: Rows from this key on, in the order of the keys; None: from the first.
    lower: Mapping[str, Any] | None = None
    #: Rows before this key, itself not included; None: to the last.
    upper: Mapping[str, Any] | None = None
    #: When there is no more time, by `time.monotonic()`.
    until: float = field(default=float("inf"), repr=False)

    @property
    def seconds_left(self) -> float:
        """For the time limits of what you call: a call that blocks is not interrupted from outside."""
        return max(self.until - time.monotonic(), 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """The last thing that a side yields: the proof that there are no more rows in the part.

    Yield it only where you know: the last page said that it is the last, the connection closed in order.
    """

    #: How many rows the other system says there are; compared with how many were delivered. Where none were, it has to
    #: be said: `End(rows=0)`.
    rows: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One row that is to be written, by the side's own names of its columns."""

    key: Mapping[str, Any]
    #: What the row has to hold still, or it is left alone; None: there has to be none.
    before: Mapping[str, Any] | None
    #: What it is to hold; None: it is to go away.
    after: Mapping[str, Any] | None
    #: The same for each try of one repair transaction, another for every other.
    unit: str


#: Yields batches of rows, then an `End`.
Reads: TypeAlias = Callable[[Part], Iterable[Sequence[Row] | End]]
#: Writes one row; False where it is no longer what `before` says, and was left alone.
Writes: TypeAlias = Callable[[Change], bool]
Function = TypeVar("Function", bound=Reads)


@dataclass(frozen=True, kw_only=True, slots=True)
class Declared:
    """What a side says of itself."""

    #: Columns that tell its rows apart.
    key: tuple[str, ...] = ()
    #: Column -> its type, as in `types`; empty: whatever column is asked for.
    columns: Mapping[str, str] = field(default_factory=dict)
    #: What writes a row; None: it is only read.
    writer: Writes | None = None
    #: Its own exceptions after which it is worth trying again.
    transient: tuple[type[Exception], ...] = ()


#: Attribute of a function that holds its `Declared`.
ATTRIBUTE = "__trueup_side__"


def side(
    *,
    key: str | Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    writer: Writes | None = None,
    transient: type[Exception] | tuple[type[Exception], ...] = (),
) -> Callable[[Function], Function]:
    """Say of a function what it delivers. Without it, the columns are those that the other side has.

    `key`: rows are told apart by these columns, so that one which comes twice shows a list that moved while it was
    paged through. `writer`: writes one row if it still is what was read. `transient`: its own exceptions that would
    pass (those of time limits and connections are known).
    """
    told = Declared(
        key=(key,) if isinstance(key, str) else tuple(key),
        columns=dict(columns or {}),
        writer=writer,
        transient=transient if isinstance(transient, tuple) else (transient,),
    )

    def tell(function: Function) -> Function:
        setattr(function, ATTRIBUTE, told)
        return function

    return tell


def declared(function: object) -> Declared:
    """What a side says of itself; one without the decorator says nothing."""
    told = getattr(function, ATTRIBUTE, None)
    return told if isinstance(told, Declared) else Declared()
