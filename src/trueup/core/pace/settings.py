"""What is declared about pacing a database, and what somebody has set on it meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, field_validator, model_validator

from trueup.core.declared import Declared, Duration, Positive, Share
from trueup.core.pace.gauges import Gauge
from trueup.core.pace.windows import parse_hours
from trueup.core.zones import zone_problem


class Profile(Declared):
    """Settings that hold together, under a name."""

    protect: Share | None = None
    adaptive: bool | None = None
    fixed: Positive | None = None
    least: Positive | None = None
    most: Positive | None = None
    statement: Duration | None = Field(default=None, gt=0, le=1e9)


class Window(Declared):
    """Hours in which something else holds."""

    #: `Mon-Fri 08:00-18:00`, `Sat,Sun`, `22:00-06:00`.
    when: str
    #: Nothing runs.
    closed: bool = False
    #: One of the declared profiles; what else is said here holds beside it.
    profile: str = ""
    protect: Share | None = None
    most: Positive | None = None

    @field_validator("when")
    @classmethod
    def _hours(cls, text: str) -> str:
        parse_hours(text)
        return text


class Pace(Declared):
    """How Trueup holds back on one database."""

    #: Follow what is measured. `false`: have `fixed` statements in flight on average, whatever happens.
    adaptive: bool = True
    fixed: Positive = 0.25
    #: Guaranteed minimum and ceiling: statements in flight on average. Default of the ceiling: one less than there are
    #: cores, at least 1; where those are not known, 4.
    least: Positive = 0.05
    most: Positive | None = None
    #: How long one statement aims to take, seconds.
    statement: Duration = Field(default=0.02, gt=0, le=1e9)
    #: Cores of the database's server. Default: those of this machine if it runs here, else not known.
    cores: int | None = Field(default=None, ge=1, le=1_000_000)
    #: The canary: a SELECT as those that are to be protected have it. Default: something small.
    canary: str = ""
    #: Round trips of one reading of it: as many as a transaction of theirs makes.
    trips: int = Field(default=5, ge=1, le=50)
    timezone: str = "UTC"
    #: Settings by name, for windows and for people.
    profiles: Mapping[str, Profile] = Field(default_factory=dict)
    windows: tuple[Window, ...] = ()
    #: Health signals of the team's own.
    gauges: tuple[Gauge, ...] = ()

    @field_validator("gauges")
    @classmethod
    def _told_apart(cls, gauges: tuple[Gauge, ...]) -> tuple[Gauge, ...]:
        names = [gauge.name for gauge in gauges]
        if len(set(names)) < len(names):
            raise ValueError("two gauges have the same name")
        return gauges

    @field_validator("timezone")
    @classmethod
    def _zone(cls, name: str) -> str:
        if problem := zone_problem(name):
            raise ValueError(problem)
        return name

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for window in self.windows:
            if window.profile:
                self.profile(window.profile)
        if "least" in self.model_fields_set:
            self.check_least(Profile(least=self.least))
        for name, profile in self.profiles.items():
            self.check_least(profile, f"profiles.{name}: ")
        return self

    def check_least(self, given: Profile, where: str = "") -> None:
        """What is called the guaranteed minimum has to be within the ceiling beside it. Raises ValueError."""
        most = self.most if given.most is None else given.most
        if given.least is not None and most is not None and given.least > most:
            raise ValueError(f"{where}`least` = {given.least:g} is more than `most` = {most:g}; change one of them")

    def profile(self, name: str) -> Profile:
        """A declared one. Raises ValueError."""
        if name not in self.profiles:
            raise ValueError(
                f"there is no profile {name!r}; declared are: {', '.join(sorted(self.profiles)) or 'none'}"
            )
        return self.profiles[name]


class Override(Profile):
    """What somebody has set on a database's pacing."""

    #: Nothing runs.
    pause: bool = False
    #: One of the declared profiles; what else is set holds beside it.
    profile: str | None = None
