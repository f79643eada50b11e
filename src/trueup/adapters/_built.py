"""Statements that are built once, and given their values each time they are sent.

To build the comparison of two sides costs more than to send it, and all of its key ranges want the same one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")

#: Statements that are kept; the oldest goes first.
KEPT_MAX = 64


class Built:
    """What was built, by what it is for."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, Hashable], tuple[object, Any]] = {}
        self._lock = threading.Lock()

    def once(self, of: object, about: Hashable, build: Callable[[], Made]) -> Made:
        """What `build` gives, or gave for the same `about` and the same `of`, told by its identity."""
        with self._lock:
            kept = self._kept.get((id(of), about))
        if kept is None:
            kept = of, build()  # `of` is kept, so that its id stays its own
            with self._lock:
                while len(self._kept) >= KEPT_MAX:
                    del self._kept[next(iter(self._kept))]
                self._kept[id(of), about] = kept
        made: Made = kept[1]
        return made
