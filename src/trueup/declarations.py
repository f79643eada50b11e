"""Declarations that have to fit each other, wherever they come from, and what is wrong with one, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, SecretStr, ValidationError

from trueup.core.binding import near
from trueup.core.handlers import TAGS
from trueup.core.projection import FILES, PYTHON, Database, Projection, Side
from trueup.core.triggers import Broker, Listen, Outbox, fits, shared
from trueup.errors import ConfigError, TrueupError

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], value: object, place: str, error: type[TrueupError] = ConfigError) -> Model:
    """What is declared at a place; one that is a model already is it.

    Raises `error`, which says what is wrong and where.
    """
    try:
        return model.model_validate(value)
    except ValidationError as found:
        raise error(_complaint(place, model, found)) from None


def database_of(name: str, value: Database | str) -> Database:
    return checked(Database, value if isinstance(value, Database) else {"url": value}, f"databases.{name}")


def broker_of(name: str, value: Broker | str) -> Broker:
    return checked(Broker, value if isinstance(value, Broker) else {"url": value}, f"brokers.{name}")


def check_references(
    databases: Mapping[str, Database], projections: Mapping[str, Projection], brokers: Mapping[str, Broker]
) -> None:
    """Every side names a declared database, and what is named elsewhere is there.

    Raises ConfigError.
    """
    for name, projection in projections.items():
        for role in ("source", "target"):
            side: Side = getattr(projection, role)
            database = side.database
            if database not in (FILES, PYTHON) and database not in databases:
                raise ConfigError(
                    f"projections.{name}.{role}.database: {database!r} is not declared; {near(database, databases)}"
                )
        for kind, handler in projection.handlers.items():
            if handler.emit is not None and handler.emit not in {*databases, *brokers}:
                known = near(handler.emit, {*databases, *brokers})
                raise ConfigError(f"projections.{name}.on_{kind}.emit: {handler.emit!r} is not declared; {known}")
        for key in ("conflicts", "after"):
            for other in getattr(projection, key):
                if other not in projections or other == name:
                    known = near(other, projections.keys() - {name})
                    raise ConfigError(f"projections.{name}.{key}: there is no other projection {other!r}; {known}")
    _check_triggers(databases, projections, brokers)
    if circle := _circle(projections):
        raise ConfigError(f"projections.{circle[0]}.after: each would wait for the other: {' after '.join(circle)}")


def _check_triggers(
    databases: Mapping[str, Database], projections: Mapping[str, Projection], brokers: Mapping[str, Broker]
) -> None:
    taken: dict[tuple[str, ...], str] = {}
    for name, projection in projections.items():
        for at, trigger in enumerate(projection.triggers):
            place = f"projections.{name}.triggers.{at}"
            known: Mapping[str, Database | Broker] = databases if isinstance(trigger, Listen | Outbox) else brokers
            role = "database" if known is databases else "broker"
            there = getattr(trigger, role, None)
            if there is None:
                continue
            if there not in known:
                raise ConfigError(f"{place}.{role}: {there!r} is not declared in [{role}s]; {near(there, known)}")
            scheme = known[there].url.get_secret_value().partition(":")[0]
            if not fits(trigger, scheme):
                raise ConfigError(f'{place}: kind = "{trigger.kind}" is not for {scheme}://, which {there!r} is')
            if (only := shared(trigger, name)) is not None:
                if only in taken:
                    raise ConfigError(
                        f"{place}: {trigger.place} is read by {taken[only]} already, and each event is handed to "
                        f"one of them only; give each a consumer or a queue of its own"
                    )
                taken[only] = place


def _circle(projections: Mapping[str, Projection]) -> list[str]:
    """Projections of which each comes after the next, and the last after the first; empty: there are none."""
    clear: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in clear:
            for other in projections[name].after:
                if found := follow(other, [*path, name]):
                    return found
        clear.add(name)
        return []

    return next((found for name in projections if (found := follow(name, []))), [])


def with_stand_ins(databases: Mapping[str, Database]) -> dict[str, Database]:
    """The databases, and those that stand for the files and the Python sides of projections."""
    return {PYTHON: Database(url=SecretStr("python://")), **databases, FILES: Database(url=SecretStr("file://"))}


def _complaint(place: str, model: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong with a declaration, in words; never the value, which may be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = [str(part) for part in first["loc"] if part not in TAGS]
    full = ".".join([place, *where])
    if first["type"] == "extra_forbidden":
        known = _fields(model, where[:-1])
        return f"{full}: unknown key {where[-1]!r}; {near(where[-1], known)}"
    if first["type"] == "missing":
        return f"{full}: is missing"
    if first["type"] in ("model_type", "model_attributes_type"):
        return f"{full}: write a table, {{ KEY = … }}; known: {', '.join(sorted(_fields(model, where)))}"
    words = first["msg"].removeprefix("Value error, ")
    return f"{full}: {words}"


def _fields(model: type[BaseModel], where: list[str]) -> list[str]:
    """Names of the keys at a place inside a model."""
    either: list[type[BaseModel]] = []
    for name in where:
        if name in model.model_fields:
            either = _models(model.model_fields[name].annotation)
        tagged = [
            one
            for one in either
            if "kind" in one.model_fields and name in get_args(one.model_fields["kind"].annotation)
        ]
        model = (tagged or (either if len(either) == 1 else []) or [model])[0]
    return [name for name in model.model_fields if name != "name"]


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models that a type names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models(inner)]
