"""Copies of rows of a table, to try on them what is to be done to it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pydantic import SecretStr


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """A copy of some rows of a table."""

    #: Where it goes by the name `table`.
    url: SecretStr
    table: str
    #: What hangs on the table and not on the copy.
    lacking: tuple[str, ...]


class Sandboxing(Protocol):
    """Makes copies; all of one is gone when its block ends."""

    def copied(self, table: str, columns: Sequence[str], select: str) -> AbstractContextManager[Copy]:
        """A copy of the rows of `table` for which `select` holds (empty: of all), with these columns."""


class Sandboxed(Protocol):
    """A database that may offer copies."""

    @property
    def sandbox(self) -> Sandboxing | None:
        """Who makes them; None where nobody can."""
