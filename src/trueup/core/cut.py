"""How rows are declared to be cut into partitions, and how often those of time are read, by their age."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator

from trueup.core.declared import Declared, Duration
from trueup.core.zones import zone_problem


class Period(Declared):
    """How often buckets of time are read, as long as they are younger than an age."""

    #: Buckets that ended within this long, seconds. None: all that are older than the periods before say.
    younger: Duration | None = Field(default=None, gt=0)
    #: Each is read again after this long, seconds.
    every: Duration = Field(gt=0)


class Partition(Declared):
    """The declared cut of the rows into partitions, which are compared one by one and can be asked for by name."""

    by: Literal["key", "column", "time"] = "key"
    #: Column that both sides have: a tenant, a region; for `time` a date or timestamp.
    column: str = ""
    #: How long a partition of time is: an hour, or a calendar day, week (from Monday) or month of the zone.
    bucket: Literal["1h", "1d", "1w", "1mo"] | None = None
    #: Zone in which buckets begin, by its name in the time zone database.
    zone: str = "UTC"
    #: Only buckets that ended within this long are looked at, seconds. Default: all.
    window: Duration | None = None
    #: A bucket is compared only this long after its end, seconds: until then rows may still arrive.
    lateness: Duration = 0.0
    #: By which clock a bucket ends: ours, or the source's, whose time is that of its latest row.
    watermark: Literal["clock", "source"] = "clock"
    #: How often buckets are read, the youngest first. Default: by every run over all rows.
    verify: tuple[Period, ...] = ()

    @model_validator(mode="after")
    def _fitting(self) -> Partition:
        if self.by == "key" and self.column:
            raise ValueError('by = "key" has no `column`; write by = "column", or by = "time"')
        if self.by != "key" and not self.column:
            raise ValueError(f'by = "{self.by}" needs `column`: the column that says where a row belongs')
        if self.by == "time" and self.bucket is None:
            raise ValueError('by = "time" needs `bucket`: "1h", "1d", "1w" or "1mo"')
        of_time = {"bucket", "zone", "window", "lateness", "watermark", "verify"} & self.model_fields_set
        if self.by != "time" and of_time:
            raise ValueError(f'`{min(of_time)}` is about by = "time"')
        if problem := zone_problem(self.zone):
            raise ValueError(f"`zone`: {problem}")
        _check_periods(self.verify)
        return self


def _check_periods(periods: Sequence[Period]) -> None:
    before = 0.0
    for at, period in enumerate(periods, 1):
        last = at == len(periods)
        if period.younger is None and not last:
            raise ValueError(f"`verify` {at} has no `younger`, so it is for all buckets, and those after it for none")
        if period.younger is None:
            return
        if last:
            raise ValueError(f"`verify` {at} is the last: leave out `younger`, so that it is for all that is older")
        if period.younger <= before:
            raise ValueError(f"`verify` {at}: `younger` has to be longer than before it; give the youngest first")
        before = period.younger


def period_of(periods: Sequence[Period], age_s: float) -> Period:
    """The one that holds for a bucket that ended so long ago."""
    return next(period for period in periods if period.younger is None or age_s < period.younger)
