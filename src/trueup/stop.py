"""What ends a run from outside, after the segment at hand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(kw_only=True, slots=True)
class Stop:
    """Set from outside (Ctrl-C, a signal) to end the run after the segment at hand."""

    asked: bool = False
    reason: str = ""

    def lost(self) -> None:
        """Another node has taken over: there is nothing to go on with."""
        self.asked, self.reason = True, "another node has taken over"
