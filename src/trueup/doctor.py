"""What a repair depends on, found out: `trueup doctor`, and what every run looks at before it begins.

A class is computed by design (`core.guarantee`), lowered by what was seen (`core.findings`), and called *probed* once
the race was run with this version of the code on this version of the server. Settings are looked at before each run;
schema, privileges and the race only here, and the ledger keeps what they said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from trueup._version import __version__
from trueup.adapters import Adapter
from trueup.bindings import Bindings
from trueup.bound import without_password
from trueup.clock import Clock
from trueup.core.binding import Binding, not_writable
from trueup.core.findings import Finding, Race, State, capped, worst
from trueup.core.guarantee import Guarantee, Promise, Proof, Protocol
from trueup.errors import TrueupError
from trueup.indexes import that_pay
from trueup.moved import drift_moved
from trueup.store.examined import examine_ledger
from trueup.store.ledger import Ledger
from trueup.store.probes import Probe, Probes
from trueup.store.standing import Standing

#: The check that tells whether the target can be repaired as it is declared.
TARGET = "target"


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosis:
    """What was found out about one projection."""

    projection: str
    #: As far as it stands; None where the declaration does not fit the databases.
    promise: Promise | None
    #: What the design allows, before anything was looked at.
    designed: Promise | None = None
    #: It is declared to be repaired, and not only compared.
    repaired: bool = False
    findings: tuple[Finding, ...] = ()
    race: Race | None = None
    #: Why it could not be looked at.
    error: TrueupError | None = None

    @property
    def capped(self) -> bool:
        """Is less promised than the design allows, or nothing at all of what is declared to be repaired?"""
        if self.promise is None or self.designed is None or not self.repaired:
            return False
        least = self.promise.guarantee
        return least is Guarantee.REPORT_ONLY or least is not self.designed.guarantee

    @property
    def exit_code(self) -> int:
        """0 all is well, 1 something should be changed, 2 it cannot work, 3 not all could be found out, 4 capped."""
        if self.error is not None:
            return self.error.exit_code
        if self.capped:
            return 4
        unproven = self.race is not None and self.race.proof is not Proof.HELD
        if unproven or worst(self.findings) is State.NOT_AVAILABLE:
            return 3
        return 0 if worst(self.findings) is State.OK else 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """What was found out about the ledger, the databases and the projections."""

    #: About the ledger and the servers.
    findings: tuple[Finding, ...]
    diagnoses: tuple[Diagnosis, ...]


class Doctor:
    """Examines what is declared; `ledger` opens the one that keeps what was found, when it is needed."""

    def __init__(self, bindings: Bindings, ledger: Callable[[], Ledger], clock: Clock) -> None:
        self.bindings = bindings
        self._open = ledger
        self.clock = clock
        self._races: dict[tuple[str, Protocol, bool], Race] = {}

    @cached_property
    def ledger(self) -> Ledger:
        return self._open()

    @cached_property
    def probes(self) -> Probes:
        return Probes(self.ledger)

    # --- before every run ----------------------------------------------------------------------------------------

    def promise(self, binding: Binding, *, examined: bool = True) -> Promise:
        """What a repair promises now: by design, by the servers' settings, and, if anything was `examined`, by that."""
        designed = self.bindings.designed(binding)
        if designed.guarantee is Guarantee.REPORT_ONLY:
            return designed
        name = binding.projection.name
        found, server = self._servers(binding)
        if not examined:
            return capped(designed, found, None)
        kept = self.probes.findings(name, self.bindings.definition(name))
        kept = [finding for finding in kept if finding.check != TARGET]  # as it was then; `designed` has judged it now
        race = self.probes.race(
            self._place(binding), server, __version__, designed.protocol, one_database=binding.one_database
        )
        return capped(designed, [*found, *kept], race)

    def _servers(self, binding: Binding) -> tuple[list[Finding], str]:
        """Settings of the target's server, what the source's may not be, and the version of the target's."""
        sides = binding.projection.source, binding.projection.target
        target = self.bindings.server(sides[1].database)
        found = _placed(target.findings, f"databases.{sides[1].database}")
        if not binding.one_database and self.bindings.server(sides[0].database).past:
            found.append(
                Finding(
                    check="recovery",
                    place=f"databases.{sides[0].database}",
                    state=State.FAIL,
                    seen="the source is read from a standby",
                    why="what it says may be older than what the target reflects already",
                    remedy="give the primary's URL",
                    cap=Guarantee.CONVERGENT,
                )
            )
        return found, target.version

    def _place(self, binding: Binding) -> str:
        return without_password(self.bindings.databases[binding.projection.target.database].url.get_secret_value())

    # --- trueup doctor -------------------------------------------------------------------------------------------

    def examine(self, names: Sequence[str] = ()) -> Examination:
        """Look at everything that the named projections (default: all) depend on."""
        chosen = [self.bindings.projection(name) for name in names or self.bindings.projections]
        found = examine_ledger(self.ledger.engine)
        used = dict.fromkeys(side.database for each in chosen for side in (each.source, each.target))
        for database in used:
            found += self._database(database)
        return Examination(
            findings=tuple(found), diagnoses=tuple(self._projection(projection.name) for projection in chosen)
        )

    def _database(self, name: str) -> list[Finding]:
        place = f"databases.{name}"
        try:
            server = self.bindings.server(name)
        except TrueupError as error:
            return [
                Finding(check="server", place=place, state=State.NOT_AVAILABLE, seen=str(error), why="nothing is known")
            ]
        version = Finding(check="version", state=State.OK, seen=server.version)
        return _placed((version, *server.findings), place)

    def _projection(self, name: str) -> Diagnosis:
        try:
            return self._diagnosis(self.bindings.binding(name, writing=False))
        except TrueupError as error:
            return Diagnosis(projection=name, promise=None, error=error)

    def _diagnosis(self, binding: Binding) -> Diagnosis:
        name = binding.projection.name
        designed = self.bindings.designed(binding)
        pair = self.bindings.pair(binding)
        found = self._unique(binding)
        if binding.one_database:
            found += pair.target.examiner.sides(binding, ("source", "target"))
        else:
            found += pair.source.examiner.sides(binding, ("source",))
            found += pair.target.examiner.sides(binding, ("target",))
        found += drift_moved(pair, Standing(self.ledger).drift(name, limit=100))
        found += self._index(binding)
        found.sort(key=lambda finding: finding.place)
        race = self._race(binding, pair.target, designed)
        settings, server = self._servers(binding)
        self.probes.add(
            Probe(
                projection=name,
                definition=self.bindings.definition(name),
                place=self._place(binding),
                server=server,
                code_version=__version__,
                findings=tuple(found),
                race=race,
                at=self.clock.now(),
            )
        )
        promise = capped(designed, [*settings, *found], race)
        return Diagnosis(
            projection=name,
            promise=promise,
            designed=designed,
            repaired=binding.projection.writers is not None or not binding.projection.written,
            findings=tuple(found),
            race=race,
        )

    def _unique(self, binding: Binding) -> list[Finding]:
        """Can the target, as it is declared, be repaired at all?"""
        projection, key = binding.projection, ", ".join(column.name for column in binding.target.key)
        place = f"projections.{projection.name}.target"
        if projection.writers is None or not projection.written:
            return []
        problem = not_writable(projection, binding.target)
        if not problem:
            return [Finding(check="unique key", place=place, state=State.OK, seen=f"a unique index on exactly ({key})")]
        why = "a repair could not tell its row from another"
        return [Finding(check=TARGET, place=place, state=State.FAIL, seen=problem, why=why, cap=Guarantee.REPORT_ONLY)]

    def _index(self, binding: Binding) -> list[Finding]:
        """The index that would pay, as `explain` names it."""
        place = f"projections.{binding.projection.name}"
        reasons = that_pay(self.bindings.pair(binding))
        return [Finding(check="index", place=place, state=State.OK, seen="would pay", remedy=why) for why in reasons]

    def _race(self, binding: Binding, target: Adapter, designed: Promise) -> Race | None:
        if designed.protocol in (Protocol.NONE, Protocol.HANDLER):
            return None
        of = self._place(binding), designed.protocol, binding.one_database
        if of not in self._races:
            try:
                race = target.examiner.race(designed.protocol, one_database=binding.one_database, now=self.clock.now())
            except TrueupError as error:
                told = (f"the race could not be run: {error}",)
                race = Race(protocol=of[1], one_database=of[2], proof=Proof.INCONCLUSIVE, told=told)
            self._races[of] = race
        return self._races[of]


def _placed(findings: Sequence[Finding], place: str) -> list[Finding]:
    return [replace(finding, place=place) for finding in findings]
