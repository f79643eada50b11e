"""Between two segments or units: where a run can be stopped or paused without leaving anything half done."""

from __future__ import annotations

from trueup.clock import Clock
from trueup.errors import Interrupted, Refused
from trueup.job import WRITING, Job
from trueup.observe import Progress
from trueup.stop import Stop
from trueup.store.standing import Control, Standing

#: Seconds between two looks at the pause switch while paused.
PAUSE_LOOK_S = 0.5


class Border:
    """Called at each: raises if the run must stop here, waits while it is paused."""

    def __init__(
        self, *, name: str, command: str, stop: Stop, standing: Standing, clock: Clock, progress: Progress
    ) -> None:
        self.name = name
        self.command = command
        self.stop = stop
        self.standing = standing
        self.clock = clock
        self.progress = progress

    def awaited(self) -> bool:
        """Is somebody waiting for the next border?"""
        return self.stop.asked or self.standing.control(self.name).state != "running"

    def paused(self) -> bool:
        """Does a run wait at the next border?"""
        return self.standing.control(self.name).state == "paused"

    def __call__(self) -> None:
        if self.stop.asked:
            raise Interrupted(
                f"{self.name}: {self.stop.reason or 'stopped'} after the current segment; "
                f"`trueup {self.command} …` again goes on from there"
            )
        told = False
        while (control := self.standing.control(self.name)).state != "running":
            if control.state == "stopped" and self.command not in WRITING:
                return  # the kill switch is for writes
            if control.state == "stopped":
                raise Refused(f"{self.name}: stopped {_by(control)}; `trueup resume {self.name}` allows runs again")
            if not told:
                self.progress.paused(f"{_by(control)}; waiting for `trueup resume {self.name}`")
                told = True
            if self.stop.asked:
                raise Interrupted(f"{self.name}: stopped while paused; run again to go on")
            self.clock.wait(PAUSE_LOOK_S)


def border_of(job: Job, stop: Stop) -> Border:
    """The borders of a job's run."""
    return Border(
        name=job.name,
        command=job.command,
        stop=stop,
        standing=job.standing,
        clock=job.clock,
        progress=job.progress,
    )


def _by(control: Control) -> str:
    when = f" at {control.at:%Y-%m-%d %H:%M:%S} UTC" if control.at else ""
    return f"by {control.actor}{when}" + (f": {control.reason}" if control.reason else "")
