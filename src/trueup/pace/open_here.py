"""What a worker holds open from one statement to the next, so that it can be let go of while it is paused."""

from __future__ import annotations

import threading
from typing import Protocol


class Open(Protocol):
    """Something that is open in a database."""

    def let_go(self) -> None:
        """Close it; who needs it again opens it again."""


class OpenHere:
    """What is open, by the threads that use it: each lets go of its own."""

    def __init__(self) -> None:
        self._open: dict[Open, int] = {}

    def add(self, opened: Open) -> None:
        """This thread uses it from now on."""
        self._open[opened] = threading.get_ident()

    def remove(self, opened: Open) -> None:
        self._open.pop(opened, None)

    def here(self) -> list[Open]:
        """What this thread uses."""
        return [opened for opened, thread in tuple(self._open.items()) if thread == threading.get_ident()]

    def let_go(self) -> None:
        """Close what this thread uses."""
        for opened in self.here():
            opened.let_go()
