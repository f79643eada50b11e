"""What was spoilt, as the one who spoilt it knows. The engine never sees this list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[Any, ...]


@dataclass(kw_only=True)
class Faults:
    """Rows that were put wrong on purpose, and how it happened."""

    #: Key -> what happened to it.
    happened: dict[Key, str] = field(default_factory=dict)

    def note(self, what: str, *key: Any) -> None:
        """A row is wrong from now on. Two mistakes in one row could undo each other: one is enough."""
        assert key not in self.happened, f"{key} was spoilt before: {self.happened[key]}"
        self.happened[key] = what

    def kinds(self) -> Mapping[str, int]:
        """What happened -> how often."""
        kinds: dict[str, int] = {}
        for what in self.happened.values():
            kinds[what] = kinds.get(what, 0) + 1
        return kinds

    def score(self, found: Iterable[Key]) -> tuple[float, float]:
        """Recall (how much of what was spoilt was found) and precision (how much of what was found was spoilt)."""
        right = set(found)
        hits = len(right & self.happened.keys())
        return hits / len(self.happened), (hits / len(right) if right else 0.0)
