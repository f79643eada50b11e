"""A way to hash rows, as expressions.

There are two. `Native` uses a hash function of the product on values as they are stored: cheap, and only for two
servers that give the same answers to the same probes. `Portable` spells each value as a text that every product can
make, and takes the MD5 of the text: dearer by several times, and the same everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from trueup.adapters._dialect import Expression
from trueup.core.binding import Column
from trueup.core.digest import Hashing
from trueup.core.row import Kind, Value


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of a row, as it is hashed."""

    column: Column
    expression: Expression
    #: The kind in which both sides hash it.
    kind: Kind
    #: Both sides have the same scale, so that it needs no canonical spelling.
    as_it_is: bool = False


class Way(ABC):
    """One way to hash rows, as expressions."""

    name: str
    portable: bool
    #: Bytes of a key's hash and a row's hash together.
    width: int

    @abstractmethod
    def probe(self) -> Expression:
        """What this way makes of a fixed set of values."""

    @abstractmethod
    def of(self, cells: Sequence[Cell]) -> Expression:
        """The hash of these values together."""

    def key(self, cells: Sequence[Cell]) -> Expression:
        """The hash of a key: enough to tell keys apart, not to be added up."""
        return self.of(cells)

    def row(self, cells: Sequence[Cell]) -> Expression:
        """What `content` wants of a row."""
        return self.of(cells)

    @abstractmethod
    def leaf(self, key: Sequence[Cell], leaves: int) -> Expression:
        """One of about `leaves` values for a key that is not of integers alone, never NULL."""

    @abstractmethod
    def content(self, row: Expression, order: Sequence[Expression]) -> Expression:
        """What the rows of a leaf amount to, as an aggregate."""

    def whole(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - the default
        """Was nothing cut off in the statement that was just executed? Raises as `SqlAdapter.answered` does."""
        return True

    @abstractmethod
    def packed(self, key: Expression, row: Expression) -> Expression:
        """The hashes of all rows of a group in one value, as an aggregate."""

    def headless(self, key: Expression, row: Expression) -> Expression | None:  # noqa: ARG002 - the default
        """The same for less: that of a row before that of its key, without the first. None: it would not be less."""
        return None

    #: Rows of a key range are taken as they come: in the order of the key by themselves, or in any.
    as_they_come = False

    def keys_of(self, hashes: Iterable[bytes], hashing: Hashing) -> list[int] | None:  # noqa: ARG002 - the default
        """The keys, integers, where their hashes tell them; more than these do no harm. None: they do not."""
        return None

    @abstractmethod
    def hash_values(self, hashes: Iterable[bytes]) -> tuple[list[Value], sa.types.TypeEngine[Any]]:
        """Hashes from `packed` as `of` has them, and their type."""
