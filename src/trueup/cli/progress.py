# ruff: noqa: ARG002 - each exporter takes what it needs of what it is told
"""Progress on stderr: a bar with rate and time left on a terminal, plain lines elsewhere, nothing where it is quiet."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trueup.core.compare import Counts
    from trueup.core.states import RunState, Stage
    from trueup.observe import Progress
    from trueup.store.records import OutcomeRow, RunRow

#: A plain line at most this often, seconds.
LINE_EVERY_S = 5.0


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    if quiet or not sys.stderr.isatty():
        yield Lines(every_s=LINE_EVERY_S)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Bars(bars)


class Lines:
    """One line for what matters, and now and then one that shows that work goes on."""

    def __init__(self, every_s: float) -> None:
        self.every_s = every_s
        self.last = time.monotonic()
        self.began = self.last

    def say(self, text: str, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self.last >= self.every_s:
            self.last = now
            print(f"trueup: {text}", file=sys.stderr, flush=True)

    def begun(self, run: RunRow) -> None: ...

    def entered(self, stage: Stage) -> None: ...

    def ended(self, run: RunRow, state: RunState, verdict: str, why: str) -> None: ...

    def compared(self, segment: int, counts: Counts, took_s: float) -> None: ...

    def resumed(self, run: str, stage: Stage) -> None:
        self.say(f"resuming {run} ({stage})", always=True)

    def abandoned(self, run: str, why: str) -> None:
        self.say(
            f"not going on with {run}: {why}. A new run begins with what is declared now; what {run} may have "
            f"left open is settled before anything is written",
            always=True,
        )

    def elsewhere(self, unit: str, run: str) -> None:
        self.say(
            f"unit {unit[:8]} of {run} stays open: its target is declared elsewhere now, so whether it was written "
            f"cannot be found out. Declare the target (and key) as it was and run once, to settle it",
            always=True,
        )

    def narrowed(self, done: int, planned: int, counts: Counts) -> None:
        rows = max(counts.source_rows, counts.target_rows)
        rate = rows / max(time.monotonic() - self.began, 0.001)
        self.say(
            f"compared {done} of {planned} segments, {rows:,} rows, {rate:,.0f} rows/s, {counts.differing:,} differ"
        )

    def confirming(self, at: int, of: int, settle_s: float) -> None:
        if at == 1 and settle_s:
            self.say(f"looking again at the suspects {settle_s:g} s after the first look", always=True)

    def recovered(self, unit: str, outcomes: Sequence[OutcomeRow]) -> None:
        found = Counter(str(outcome.outcome) for outcome in outcomes)
        self.say(f"settled unit {unit[:8]} of an interrupted run: {_counted(found)}", always=True)

    def repaired(self, at: int, of: int, outcomes: Sequence[OutcomeRow]) -> None:
        self.say(f"repaired segment {at} of {of}")

    def unmarked(self, database: str) -> None:
        why = "it may not keep trueup_applied and trueup_fence there"
        self.say(
            f"no markers in {database}: {why}, so what a crash leaves open can only be called converged", always=True
        )

    def paused(self, why: str) -> None:
        self.say(f"paused {why}", always=True)

    def unsealed(self, why: str) -> None:
        self.say(f"the audit log got no head: {why}", always=True)

    def paced(self, database: str, mode: str, why: str) -> None:
        self.say(f"databases.{database}: pacing is {mode}: {why}", always=True)


class Bars(Lines):
    """The same on a terminal."""

    def __init__(self, bars: Any) -> None:
        super().__init__(every_s=0)
        self.bars = bars
        self.task: Any = None
        self.label = ""

    def say(self, text: str, *, always: bool = False) -> None:
        if always:
            self.bars.console.print(text, markup=False, highlight=False, style="dim")

    def _show(self, label: str, done: int, total: int, rate: str = "") -> None:
        if label != self.label:
            if self.task is not None:
                self.bars.remove_task(self.task)
            self.task, self.label = self.bars.add_task(label, total=total, rate=rate), label
        self.bars.update(self.task, completed=done, total=total, rate=rate)

    def narrowed(self, done: int, planned: int, counts: Counts) -> None:
        rows = max(counts.source_rows, counts.target_rows)
        rate = rows / max(time.monotonic() - self.began, 0.001)
        self._show("comparing", done, planned, f"{rate:,.0f} rows/s")

    def confirming(self, at: int, of: int, settle_s: float) -> None:
        self._show("confirming", at - 1, of)

    def repaired(self, at: int, of: int, outcomes: Sequence[OutcomeRow]) -> None:
        self._show("repairing", at, of)


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in found.items()) or "nothing was written"
