"""One index: what it is called, which one it is, what its mapping says, and its documents as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from trueup.adapters._documents import kinds_of
from trueup.adapters._opensearch_fields import Field, as_declared, fields_of, found
from trueup.adapters._opensearch_http import Http, Missing
from trueup.core.binding import Binding, BoundSide, Column, Shape
from trueup.core.kinds import Kind
from trueup.core.projection import Side
from trueup.core.row import Key, Values
from trueup.core.text import TYPES, Pattern, part_of_key, texts_of
from trueup.errors import ConfigError, DataProblem, DesignProblem

#: The version of a document: a number that the source issued, where its writers use `version_type=external`.
VERSION = "_version"
#: `index.gc_deletes` where it is not set.
GC_DELETES = "60s"


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """An index as it was when it was asked for."""

    #: As it is declared: an index, or an alias of one.
    declared: str
    #: The index itself.
    name: str
    #: Another index that takes its name has another.
    uuid: str
    fields: Mapping[str, Field]
    #: How long it remembers the version of a deleted document, as it is set.
    remembers: str
    #: Why it cannot be a side; empty if it can.
    unfit: str

    @property
    def path(self) -> str:
        return "/" + quote(self.name, safe="")

    def is_still(self, other: Index) -> bool:
        return (self.name, self.uuid) == (other.name, other.uuid)


def index_of(http: Http, declared: str) -> Index:
    """What stands behind a name now.

    Raises ConfigError if it is not one index, Missing if it is none.
    """
    if not declared or set(declared) & set('*,<>/?#\\ "|') or declared[0] in "_-+":
        raise ConfigError(f"{declared!r} is not the name of one index")
    answer = http.ask("GET", "/" + quote(declared, safe=""))
    if len(answer) != 1:
        names = ", ".join(sorted(answer)) or "none"
        raise ConfigError(f"{declared!r} is an alias of {len(answer)} indexes ({names}); name one of them")
    ((name, told),) = answer.items()
    mapping = told.get("mappings", {})
    settings = told.get("settings", {}).get("index", {})
    return Index(
        declared=declared,
        name=name,
        uuid=str(settings.get("uuid", "")),
        fields={field.path: field for field in fields_of(mapping.get("properties", {}))},
        remembers=str(settings.get("gc_deletes", GC_DELETES)),
        unfit=_unfit(told.get("aliases", {}).get(declared) or {}, mapping, settings),
    )


def _unfit(alias: Mapping[str, Any], mapping: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    kept = mapping.get("_source", {})
    derived = settings.get("derived_source", {}).get("enabled") in (True, "true")
    synthetic = "synthetic" in (kept.get("mode"), settings.get("mapping", {}).get("source", {}).get("mode"))
    if alias.get("filter"):
        return "it is an alias with a filter; name the index itself"
    if kept.get("enabled") in (False, "false") or kept.get("includes") or kept.get("excludes"):
        return "its mapping does not keep documents whole (_source), so what was sent cannot be compared"
    if derived or synthetic:
        return "its documents are put together from the index (_source is derived), and not as they were sent"
    if mapping.get("_routing", {}).get("required") in (True, "true"):
        return "its documents are routed by something else than their ids, and cannot be found by them"
    return ""


def shape_of(index: Index, side: Side) -> Shape:
    """What an index offers a side.

    Raises ConfigError.
    """
    if index.unfit:
        raise ConfigError(f"{index.declared!r}: {index.unfit}")
    pattern = pattern_of(side)
    for name, type_ in side.types.items():
        if type_ not in TYPES:
            raise ConfigError(f"types: {type_!r} of {name!r} is no type of a value; known: {', '.join(TYPES)}")
    fields = fields_in(index, side)
    columns = {
        path: Column(name=path, kind=field.kind, type_name="declared" if path in side.types else field.type)
        for path, field in fields.items()
    }
    columns[VERSION] = Column(name=VERSION, kind=Kind.INTEGER, type_name="version of the document", nullable=False)
    for name in pattern.names:
        kind = TYPES.get(side.types.get(name, ""), Kind.ANY)
        columns[name] = Column(name=name, kind=kind, type_name="part of _id", nullable=False)
    identity = f"index {index.name!r} ({index.uuid})"
    return Shape(columns=columns, unique=(frozenset(pattern.names),), table=True, identity=identity)


def fields_in(index: Index, side: Side) -> dict[str, Field]:
    """The fields of the mapping and those that are declared."""
    declared = {path: TYPES[type_] for path, type_ in side.types.items()}
    fields = dict(index.fields)
    fields.update((path, as_declared(fields.get(path), path, kind)) for path, kind in declared.items())
    return fields


def pattern_of(side: Side) -> Pattern:
    """How the documents of a side are named.

    Raises ConfigError.
    """
    if not side.id:
        raise ConfigError('say how the documents are named, with the columns of the key: id = "{post_id}"')
    try:
        pattern = Pattern.parse(side.id)
    except ValueError as wrong:
        raise ConfigError(f"id: {wrong}") from None
    if not pattern.names:
        raise ConfigError(f"id: {side.id!r} is one document: put the columns of the key in braces")
    return pattern


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The rows of one bound side in documents."""

    pattern: Pattern
    #: Key columns in the projection's order, and what they are read as.
    key: Mapping[str, Kind]
    #: Fields of the compared columns; None for the document's version.
    values: Sequence[Field | None]

    @classmethod
    def of(cls, binding: Binding, side: BoundSide, index: Index) -> Layout:
        key_kinds, _ = kinds_of(binding, side)
        fields = fields_in(index, side.side)
        return cls(
            pattern=pattern_of(side.side),
            key=dict(zip((column.name for column in side.key), key_kinds, strict=True)),
            values=[None if column.name == VERSION else fields[column.name] for column in side.values],
        )

    @property
    def paths(self) -> list[str]:
        """Fields that are read; none where only versions are."""
        return [field.path for field in self.values if field is not None]

    @property
    def version_at(self) -> int | None:
        """Which value is the document's version."""
        return next((at for at, field in enumerate(self.values) if field is None), None)

    def key_at(self, id_: str) -> Key:
        """The key in a document's id; ValueError if it is none, or spelt in a way of its own."""
        parts = self.pattern.parts(id_)
        if parts is None:
            raise ValueError("it is not of this form")
        texts = dict(zip(self.pattern.names, parts, strict=True))
        return tuple(part_of_key(kind, texts[name]) for name, kind in self.key.items())

    def id_of(self, key: Key) -> str:
        """The id of a row's document.

        Raises DataProblem if it has none.
        """
        try:
            texts = dict(zip(self.key, texts_of(list(self.key.values()), key), strict=True))
        except ValueError as wrong:
            raise DataProblem(f"key {key}: {wrong}") from None
        name = self.pattern.name([texts[column] for column in self.pattern.names])
        if name is None or len(name.encode()) > 512:
            raise DataProblem(
                f"key {key} has no id of the form {self.pattern.text!r}: a part is empty, too long, or holds the text "
                f"that ends it"
            )
        return name

    def row(self, document: Mapping[str, Any], version: int) -> Values:
        """The values of a document."""
        return tuple(version if field is None else field.value(found(document, field.path)) for field in self.values)


def check_versions(where: str, index: Index, binding: Binding, layout: Layout) -> None:
    """Raise DesignProblem if documents cannot be written by the version that the source issued."""
    paths = layout.paths
    place = f"projections.{binding.projection.name}"
    if binding.version != layout.version_at:
        raise DesignProblem(
            f"{place}.columns: {VERSION} is compared, and it is the version that writes go by: declare it as `version` "
            f'with writers = "versioned", or leave it out'
        )
    if not paths:
        raise DesignProblem(
            f"{place}.columns: only versions are compared, so what documents should say is not known: name the fields "
            f"in `columns` to repair them"
        )
    missed = [
        path
        for path in index.fields
        if not any(path == own or path.startswith(f"{own}.") or own.startswith(f"{path}.") for own in paths)
    ]
    if missed:
        raise DesignProblem(
            f"{where}: a document of {index.declared!r} is written whole with its version, and {', '.join(missed)} "
            f"would be lost: add them to {place}.columns"
        )


def resolved(http: Http, side: Side) -> Index:
    """The index of a side, as it is when it is described.

    Raises ConfigError.
    """
    try:
        return index_of(http, side.index or "")
    except Missing:
        raise ConfigError(f"there is no index {side.index!r}") from None
