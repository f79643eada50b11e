"""What a run asks of bound declarations: fingerprints, promises, who carries out handlers, what can be undone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any
from typing import Protocol as Interface

from trueup.bound import Bound, without_password
from trueup.core.approval import Said
from trueup.core.binding import Binding, bind, not_writable
from trueup.core.guarantee import Guarantee, Promise, Protocol, promise
from trueup.core.handlers import Handler
from trueup.core.projection import PYTHON, Partition, Projection
from trueup.core.schedule import UNATTENDED
from trueup.core.writer_columns import with_tombstones
from trueup.emitting import Emitter, emitter
from trueup.errors import ConfigError, Refused
from trueup.hands import Hand, Hands
from trueup.python.found import find
from trueup.python.handlers import Call
from trueup.store.plans import PlanRow, Plans
from trueup.store.records import RunRow
from trueup.who import Actor

#: Keys of a projection that say what may be done about a result, not what it is.
UNDECIDING = {
    "limits",
    "canary",
    "recurring",
    "approval",
    "approval_expires",
    "description",
    "owner",
    "weight",
    "engine",
}
UNDECIDING |= UNATTENDED


class Asked(Interface):
    """Who knows for whom something is done."""

    @property
    def plans(self) -> Plans: ...

    @property
    def actor(self) -> Actor: ...


class Bindings(Bound):
    """Declarations, bound, and all that a run asks of them."""

    @cached_property
    def _emitters(self) -> dict[str, Emitter]:
        """By the handler that they carry out, as JSON."""
        return {}

    def _handed(self, projection: Projection, command: str, plan: PlanRow | None, asked: Asked) -> Hands:
        """What carries out the handlers of a projection, and for whom.

        Raises ConfigError.
        """
        if command == "check" or not projection.handlers:
            return Hands()
        votes = asked.plans.votes(plan.id) if plan is not None else []
        people = tuple(sorted({row.vote.person for row in votes if row.vote.said is Said.APPROVED}))
        by_kind, of = self._hands(projection), "" if plan is None else plan.id
        return Hands(by_kind=by_kind, plan=of, actor=asked.actor.name, approved_by=people)

    def _hands(self, projection: Projection) -> dict[str, Hand]:
        found = {}
        for kind, handler in projection.handlers.items():
            try:
                found[kind] = Hand(declared=handler, do=self._doing(handler))
            except ConfigError as error:
                raise ConfigError(f"projections.{projection.name}.on_{kind}: {error}") from error
        return found

    def _doing(self, handler: Handler) -> Callable[[Call], object]:
        if handler.call is not None:
            return find(handler.call, self.databases[PYTHON].url.get_secret_value().partition("://")[2])
        name, known = str(handler.emit), handler.model_dump_json()
        if known not in self._emitters:
            kind, declared = ("brokers", self.brokers) if name in self.brokers else ("databases", self.databases)
            url = declared[name].url.get_secret_value()
            self._emitters[known] = emitter(handler, f"{kind}.{name}", url)
        return self._emitters[known].send

    def definition(self, name: str) -> str:
        """Fingerprint of what decides a projection's results; limits, approvals and descriptions do not."""
        projection = self.projection(name)
        told = projection.model_dump(mode="json", exclude=UNDECIDING)
        told["partition"].pop("verify")  # how often it is read
        for role in ("source", "target"):
            database = self.databases[told[role]["database"]]
            told[role]["at"] = without_password(database.url.get_secret_value())
        return _fingerprint(told)

    def conduct(self, name: str) -> str:
        """Fingerprint of how a projection's databases are treated: limits of time, pacing."""
        projection = self.projection(name)
        used = sorted({projection.source.database, projection.target.database})
        return _fingerprint([self.databases[database].model_dump(mode="json", exclude={"url"}) for database in used])

    def place(self, name: str) -> str:
        """Fingerprint of where a projection's rows are written, and by which key."""
        projection = self.projection(name)
        target = projection.target.model_dump(mode="json")
        target["at"] = without_password(self.databases[projection.target.database].url.get_secret_value())
        return _fingerprint([target, projection.key])

    def undoable(self, run: RunRow) -> Binding:
        """What is needed to put a run's rows back: the target, with the columns and kinds that the run compared.

        The source has no say and need not even be there: a wrong declaration of it is what rollbacks are for.
        Raises Refused where the run wrote elsewhere, or the table is not what it was.
        """
        name = run.projection
        same = run.place == self.place(name) if run.place else run.definition == self.definition(name)
        if not same:
            raise Refused(
                f"run {run.id}: {run.projection} is written elsewhere now, or by another key, than when it wrote; "
                f"nothing is put back. Declare its target as it was to undo it"
            )
        declared = self.projection(run.projection)
        if declared.target.type == "generations":
            raise Refused(
                f"run {run.id} cannot be undone: {name} counts in generations, and what a row showed before is no "
                f"generation's number: increments that were on their way then count nowhere now. Mend the source, and "
                f"let `trueup run {name}` count the rows anew"
            )
        if declared.target.index and declared.version and declared.target.physical(declared.version) == "_version":
            raise Refused(
                f"run {run.id} cannot be undone: the documents of {name} have the versions that the source issued, and "
                f"a search engine takes no older one. Mend the source, and let `trueup run {name}` write newer ones"
            )
        sensitive = tuple(name for name in declared.sensitive if name in (*run.columns, *declared.key))
        plain: dict[str, Any] = {"absent": None, "on_extra": None, "tolerance": {}, "nulls": {}, "changes": None}
        plain |= {"source": declared.target, "columns": run.columns or None, "partition": Partition()}
        plain["sensitive"] = sensitive
        projection = declared.model_copy(update=plain)
        try:
            shape = self.shape(name, "target", projection.target)
            binding = bind(projection, shape, shape, writing=True)
            if projection.tombstone is not None:
                binding = with_tombstones(binding, projection.tombstone.column, f"projections.{name}")
        except ConfigError as error:
            raise Refused(f"run {run.id} cannot be undone, the target is not what it was: {error}") from error
        return _as_compared(binding, run)

    def promised_back(self, binding: Binding) -> Promise:
        """What putting rows back can promise: it asks nothing of the writers, only of the target."""
        offers = self._adapter(binding.projection.target.database).capabilities.writing
        obstacle = _obstacle(binding)
        held = offers.single_writer or offers.row_locks or offers.row_version
        if not (held or offers.compares_values) and not obstacle:
            obstacle = "the target offers neither a row version nor a lock"
        if obstacle:
            return Promise(guarantee=Guarantee.REPORT_ONLY, protocol=Protocol.NONE, reasons=(obstacle,))
        if not held:
            why = (
                "a row is put back only if it still holds the values that were written; the target has no version to "
                "demand, so values that came back, or a write at that very moment, are not noticed"
            )
            return Promise(guarantee=Guarantee.CONVERGENT, protocol=Protocol.COMPARE_AND_SET, reasons=(why,))
        by = "value and version" if offers.row_version else "value"
        why = f"a row is put back under its lock, and only if it still is, by {by}, what was written"
        protocol = Protocol.EXCLUSIVE if offers.single_writer else Protocol.LOCK
        return Promise(guarantee=Guarantee.EXACT, protocol=protocol, reasons=(why,))

    def undefined(self, run: RunRow) -> str:
        """Fingerprint of what decides the result of undoing a run: the source is no part of it."""
        return _fingerprint([run.id, run.columns, run.kinds, self.place(run.projection)])

    def designed(self, binding: Binding) -> Promise:
        """What the design lets a repair promise, before anything was looked at."""
        target = self._adapter(binding.projection.target.database)
        writing = target.capabilities.writing
        if not self.databases[binding.projection.target.database].markers:
            writing = replace(writing, markers=False)
        return promise(binding.projection, writing, _obstacle(binding))

    def close_adapters(self) -> None:
        super().close_adapters()
        for opened in self._emitters.values():
            opened.close()


def _fingerprint(told: object) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _as_compared(binding: Binding, run: RunRow) -> Binding:
    """With the columns and kinds of `run`: what its images are spelt in."""
    width = len(binding.key_kinds)
    kinds = run.kinds or binding.kinds
    target = binding.target if run.columns else replace(binding.target, values=())
    return replace(
        binding,
        columns=run.columns,
        key_kinds=kinds[:width],
        value_kinds=kinds[width : width + len(run.columns)],
        source=target,
        target=target,
        absent=None,
        rules=(),
    )


def _obstacle(binding: Binding) -> str:
    """Why nothing can be written at all; empty: it can be."""
    vanishing = binding.source.shape.vanishing
    return not_writable(binding.projection, binding.target) or (vanishing and f"the source: {vanishing}")
