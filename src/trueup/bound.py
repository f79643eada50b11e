"""Declarations bound to the databases they speak of: sides described, checked against each other, and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from trueup.adapters import Adapter, Server, connect
from trueup.core.binding import Binding, Shape, bind, check_query, near
from trueup.core.projection import Database, Projection, Side
from trueup.core.triggers import Broker
from trueup.core.writer_columns import equip, events_side, pending_side
from trueup.declarations import broker_of, check_references, database_of, with_stand_ins
from trueup.errors import ConfigError, NotThere
from trueup.side_by_side import Pair, both
from trueup.urls import without_secrets


class Bound:
    """Declared databases and projections, and the adapters that speak to them.

    Raises ConfigError where the declarations do not fit each other.
    """

    def __init__(
        self,
        databases: Mapping[str, Database | str],
        projections: Sequence[Projection] | Mapping[str, Projection],
        brokers: Mapping[str, Broker | str] | None = None,
    ) -> None:
        declared = {name: database_of(name, value) for name, value in databases.items()}
        self.databases = with_stand_ins(declared)
        self.brokers = {name: broker_of(name, value) for name, value in (brokers or {}).items()}
        if isinstance(projections, Sequence) and len({p.name for p in projections}) != len(projections):
            raise ConfigError("two projections have one name")
        named = projections.items() if isinstance(projections, Mapping) else ((p.name, p) for p in projections)
        self.projections = {name: projection.model_copy(update={"name": name}) for name, projection in named}
        if "" in self.projections:
            raise ConfigError("a projection declared in Python needs a `name`")
        check_references(self.databases, self.projections, self.brokers)
        self._adapters: dict[str, Adapter] = {}

    def binding(self, name: str, *, writing: bool) -> Binding:
        """The declaration checked against what the databases say; reads no row.

        Raises UsageError.
        """
        projection = self.projection(name)
        source, target = self.shapes(name, projection.source, projection.target)
        binding = bind(projection, source, target, writing=writing)
        pending, events = pending_side(projection), events_side(projection)
        return equip(
            binding,
            pending=None if pending is None else self.shape(name, "pending", pending),
            events=None if events is None else self.shape(name, "events", events),
        )

    def shapes(self, name: str, source: Side, target: Side) -> tuple[Shape, Shape]:
        """What both sides of a projection look like; two databases are asked at the same time.

        Raises ConfigError.
        """
        asked = partial(self.shape, name, "source", source), partial(self.shape, name, "target", target)
        if source.database == target.database:
            return asked[0](), asked[1]()
        return both(*asked)

    def shape(self, name: str, role: str, side: Side) -> Shape:
        """What a side of a projection looks like, as its database says now.

        Raises ConfigError.
        """
        adapter, place = self._adapter(side.database), f"projections.{name}.{role}"
        check_query(place, side, adapter.capabilities.dialect)  # before the database gets to see it
        try:
            return described(adapter, side)
        except ConfigError as error:
            raise ConfigError(f"{place}.{side.origin}: {error}") from error

    def projection(self, name: str) -> Projection:
        if name not in self.projections:
            raise NotThere(f"there is no projection {name!r}; {near(name, self.projections)}")
        return self.projections[name]

    def _adapter(self, database: str) -> Adapter:
        if database not in self._adapters:
            self._adapters[database] = connect(database, self.databases[database])
        return self._adapters[database]

    def pair(self, binding: Binding) -> Pair:
        """Both sides with who reads them."""
        return Pair(
            binding=binding,
            source=self._adapter(binding.projection.source.database),
            target=self._adapter(binding.projection.target.database),
        )

    def dialect(self, database: str) -> str:
        """The SQL that queries of a declared database are in."""
        return self._adapter(database).capabilities.dialect

    def server(self, database: str) -> Server:
        """Version and settings of a declared database, as it tells them now."""
        return self._adapter(database).examiner.server()

    def take_over(self, other: Bound) -> None:
        """Go on with the connections of another who speaks to the same databases, and has none from then on."""
        self._adapters, other._adapters = other._adapters, self._adapters

    def close_adapters(self) -> None:
        """Give the databases' connections back."""
        for adapter in self._adapters.values():
            adapter.close()


def without_password(url: str) -> str:
    """A database's URL as it may be kept. Raises ConfigError if it is none."""
    try:
        return without_secrets(url)
    except ValueError as wrong:
        raise ConfigError(f"a database URL: {wrong}") from None


def described(adapter: Adapter, side: Side) -> Shape:
    """What a side looks like, asked of a database that can have such a side.

    Raises ConfigError.
    """
    places = adapter.capabilities.places
    if side.origin not in places:
        raise ConfigError(f"databases.{side.database} has no such sides; give `{'` or `'.join(places)}`")
    return adapter.describe(side)
