"""What a run tells while it goes on. One exporter a file; the engine only knows `Progress`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from trueup.core.compare import Counts
from trueup.core.states import Stage
from trueup.store.records import OutcomeRow


class Progress(Protocol):
    """Told at each checkpoint of a run."""

    def resumed(self, run: str, stage: Stage) -> None: ...

    def narrowed(self, done: int, planned: int, counts: Counts) -> None: ...

    def confirming(self, at: int, of: int, settle_s: float) -> None: ...

    def recovered(self, unit: str, outcomes: Sequence[OutcomeRow]) -> None: ...

    def repaired(self, at: int, of: int, outcomes: Sequence[OutcomeRow]) -> None: ...

    def paused(self, why: str) -> None: ...


class Silent:
    """Tells nobody."""

    def resumed(self, run: str, stage: Stage) -> None: ...

    def narrowed(self, done: int, planned: int, counts: Counts) -> None: ...

    def confirming(self, at: int, of: int, settle_s: float) -> None: ...

    def recovered(self, unit: str, outcomes: Sequence[OutcomeRow]) -> None: ...

    def repaired(self, at: int, of: int, outcomes: Sequence[OutcomeRow]) -> None: ...

    def paused(self, why: str) -> None: ...
