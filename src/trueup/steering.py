"""What is set while runs go on, and holds on all nodes: pacing, pause, stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trueup.backfilling import Backfilling
from trueup.core.binding import near
from trueup.core.pace.settings import Override, Pace, Profile
from trueup.declarations import checked
from trueup.errors import NotThere, Refused, UsageError
from trueup.pace.trial import FOLLOW_S, Switch, Trial, alternate
from trueup.store.paces import PaceRow


class Steering(Backfilling):
    """An engine whose runs are steered by people."""

    # --- pacing ------------------------------------------------------------------------------------------------------

    def pace(self, database: str) -> PaceRow | None:
        """How the pacing of a database stands; None: nobody has worked on it yet. Raises UsageError."""
        row = self.paces.find(self._paced(database))
        return None if row is None else row.among((self.databases[database].pace or Pace()).profiles)

    def set_pace(self, database: str, *, reason: str = "", for_s: float | None = None, **settings: Any) -> None:
        """Let other settings hold on a paced database, on all nodes within seconds, in place of what was set before.

        `protect`, `adaptive`, `fixed`, `least`, `most`, `statement`, `pause`, `profile` (a declared one's name); none:
        as declared. `for_s`: only so long. Raises UsageError.
        """
        if for_s is not None and not for_s > 0:
            raise UsageError("settings that hold for no time change nothing: say how long, or leave it out")
        self.paces.set(database, self._override(database, settings), by=self.actor, why=reason, for_s=for_s)

    def _override(self, database: str, settings: Mapping[str, Any]) -> Override:
        """Raises UsageError."""
        pace = self.databases[self._paced(database)].pace or Pace()
        override = checked(Override, settings, f"databases.{database}.pace", UsageError)
        try:
            profile = pace.profile(override.profile) if override.profile else Profile()
            set_beside = override.model_dump(exclude_none=True, include={"least", "most"})
            pace.check_least(profile.model_copy(update=set_beside))
        except ValueError as error:
            raise UsageError(f"databases.{database}.pace: {error}") from None
        return override

    def try_pace(
        self, database: str, *, reason: str = "", rounds: int = 4, part_s: float = 10.0, **settings: Any
    ) -> Trial:
        """Let other settings hold now and then, for `part_s` seconds at a time, and see what others feel under each.

        `settings` as for `set_pace`; none: `pause`. What was set before holds again afterwards, for as long as it would
        have; if this process dies, what is declared does. What somebody else sets meanwhile holds, and ends the trial:
        Refused, as a trial is where what was set before is not all known here. Raises UsageError where nobody works on
        the database, Interrupted, Transient.
        """
        if rounds < 1 or not part_s > 0:
            raise UsageError("a trial has at least one round, and its parts take some time")
        name = self._paced(database)
        before = self.pace(name)
        if before is None or not before.nodes:
            raise UsageError(f"databases.{name}: nobody works on it, so there is nothing to try; begin a run first")
        if before.unknown:
            raise Refused(
                f"databases.{name}: what {before.override_by} has set is not all known here "
                f"({', '.join(before.unknown)}), so a trial would not put it back"
            )
        pace = self.databases[name].pace or Pace()
        probe = self._adapter(name).probe(pace.canary)
        if probe is None:
            raise UsageError(f"databases.{name}: it cannot be looked at while it is worked on")
        instead = settings or {"pause": True}
        switch = Switch(
            self.paces,
            before,
            self._override(name, instead),
            by=self.actor,
            why=f"trial{f': {reason}' if reason else ''}",
            for_s=part_s + 2 * FOLLOW_S,
            monotonic=self.clock.monotonic,
        )
        try:
            as_it_is, other = alternate(
                probe,
                self.clock,
                switch.turn,
                rounds=rounds,
                part_s=part_s,
                trips=pace.trips,
                at_work=lambda: (row := self.pace(name)) is not None and row.nodes > 0,
            )
        finally:
            switch.back()
            probe.close()
        told = " ".join(f"{key}={str(value).lower() if value is True else value}" for key, value in instead.items())
        return Trial(database=name, instead=told, part_s=part_s, as_it_is=as_it_is, other=other)

    def _paced(self, database: str) -> str:
        if database not in self.databases:
            declared = [name for name in self.databases if not name.startswith("<")]
            raise NotThere(f"there is no database {database!r}; {near(database, declared)}")
        if not self.pacing.paced(database):
            raise UsageError(
                f'databases.{database} is not paced: declare how much others may be slowed, `protect = "10%"`'
            )
        return database

    # --- switches -----------------------------------------------------------------------------------------------------

    def pause(self, name: str, *, reason: str = "") -> None:
        """Halt runs of this projection at the next segment border, until `resume`."""
        self.switches.pause(self._switchable(name).name, reason, self.actor)

    def resume(self, name: str) -> None:
        """Undo `pause` and `stop`."""
        self.switches.resume(self._switchable(name).name, self.actor)

    def stop(self, *names: str, reason: str = "") -> list[str]:
        """When this returns, no write of these projections is in flight, and none begins until `resume`; their names.

        If none is named, all that are declared, and backfills that run or are asked for.
        """
        chosen = [self._switchable(name).name for name in names or [*self.projections, *self._at_large()]]
        self.switches.stop(chosen, reason, self.actor)
        return chosen
