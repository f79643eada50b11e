"""A run, and a plan, are right only for the tables they were made for: what changes under them stops them.

Both sides are described again before each stage that follows the first, and between the segments of a repair. That
costs a few queries of the catalogue, so between segments it is left out until twenty times as long as it takes has
passed: it slows a repair by five percent at most. What slips through in between meets the guards of each unit: columns
are named in every statement, every write has to change exactly one row, and what was written is read back before the
commit.
"""

from __future__ import annotations

from typing import Any

from trueup.core.shapes import changes, side
from trueup.errors import ConfigError, SchemaChanged
from trueup.job import Job

#: Describing both sides may take this part of the time.
SHARE = 0.05


class SchemaGuard:
    """Compares what both sides look like with what they looked like when the run, or its plan, began."""

    def __init__(self, job: Job, before: dict[str, Any] | None) -> None:
        self.job = job
        #: None: an older version of Trueup began this run, and did not write it down.
        self.before = before
        self._due = 0.0

    def check(self, *, always: bool = True) -> None:
        """Raise SchemaChanged if they are no longer the same; `always`: even if that was looked at just now."""
        clock = self.job.clock
        began = clock.monotonic()
        if self.before is None or (not always and began < self._due):
            return
        self.compare(self._now())
        now = clock.monotonic()
        self._due = now + (now - began) / SHARE

    def compare(self, now: dict[str, Any]) -> None:
        """Raise SchemaChanged if this is not what it was."""
        found = changes(self.before, now) if self.before is not None else []
        if not found:
            return
        plan = self.job.plan
        what = f"plan {plan.id}" if plan is not None else "the run"
        again = f"make a new plan: trueup plan {self.job.name}" if plan is not None else "run again to begin anew"
        raise SchemaChanged(
            f"{self.job.name}: the schema is no longer what {what} began with: {'; '.join(found)}. Nothing (more) was "
            f"written; {again}"
        )

    def _now(self) -> dict[str, Any]:
        pair, projection = self.job.pair, self.job.pair.binding.projection
        try:
            described = {
                "source": side(self.job.patience.read(lambda: pair.source.describe(projection.source))),
                "target": side(self.job.patience.read(lambda: pair.target.describe(projection.target))),
            }
        except ConfigError as error:
            raise SchemaChanged(f"{self.job.name}: a side is gone since the run began: {error}") from error
        return described
