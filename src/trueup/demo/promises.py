"""What the demo promises: each promise is checked by counting, and one that does not hold makes the demo fail."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Promise:
    """One sentence that the demo stands for, and what was counted."""

    #: The promise, as a sentence without its full stop.
    says: str
    #: Whether the counts bear it out.
    held: bool
    #: The counts, in words.
    counted: str

    @property
    def verdict(self) -> str:
        return "held" if self.held else "BROKEN"


def exit_code(promises: Iterable[Promise]) -> int:
    """0 if there are promises and all of them held, 1 otherwise: a story that checked nothing has shown nothing."""
    checked = list(promises)
    return 0 if checked and all(promise.held for promise in checked) else 1
