"""How rows lie in Redis keys: one value, a hash whose fields are columns, or a key with a row for each member.

A layout says which commands read and write a row; it sends nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from trueup.adapters._documents import kinds_of
from trueup.core.binding import Binding, BoundSide, Column, Shape
from trueup.core.kinds import Kind
from trueup.core.projection import Side
from trueup.core.row import Key, Values
from trueup.core.text import TYPES, Pattern, part_of_key, spelt, texts_of, understood
from trueup.errors import ConfigError, DataProblem
from trueup.writers.layout import BASE, DELTA, GENERATION, REBASE, VERSION, digits

Command = tuple[str | bytes | int, ...]
#: The layout of counters that are incremented by generations.
GENERATIONS = "generations"
#: Names of keys that are Trueup's own, and never rows.
OURS = b"trueup:"


def shape_of(side: Side) -> Shape:
    """What a pattern declares.

    Raises ConfigError.
    """
    pattern = pattern_of(side)
    names = (*pattern.names, *([side.member] if side.member else []))
    for name, type_ in side.types.items():
        if type_ not in TYPES:
            raise ConfigError(f"types: {type_!r} of {name!r} is no type of a value; known: {', '.join(TYPES)}")
    kinds = {name: TYPES[type_] for name, type_ in side.types.items()}
    of_key = "member" if side.member else "part of a key"
    columns = {
        name: Column(name=name, kind=kinds.get(name, Kind.ANY), type_name=of_key, nullable=False) for name in names
    }
    for name, kind in kinds.items():
        columns.setdefault(name, Column(name=name, kind=kind, type_name=f"{kind} as text"))
    of_value = {"sorted_set": (Kind.FLOAT, "score"), GENERATIONS: (Kind.INTEGER, "generation-fenced number")}
    kind, type_name = of_value.get(side.type or "", (Kind.ANY, "value"))
    value = Column(name="", kind=kind, type_name=type_name)
    fields = side.type == "hash" and not side.member
    return Shape(
        columns=columns,
        unlisted=value,
        values_max=None if fields else 1,
        unique=(frozenset(names),),
        table=True,
    )


def pattern_of(side: Side) -> Pattern:
    """The pattern of a side that has one.

    Raises ConfigError.
    """
    try:
        pattern = Pattern.parse(side.pattern or "")
    except ValueError as wrong:
        raise ConfigError(str(wrong)) from None
    if side.type == "sorted_set" and not side.member:
        raise ConfigError('a sorted set has a row for each member; say which column they are, member = "user_id"')
    if side.member and side.type not in ("hash", "sorted_set"):
        raise ConfigError('`member` is about a hash or a sorted set; give type = "hash" or "sorted_set"')
    if side.member in pattern.names:
        raise ConfigError(f"{side.member!r} is a member and in the pattern too")
    if not pattern.names and not side.member:
        raise ConfigError(f"{pattern.text!r} is one key: put the columns of the key in braces, like post:{{post_id}}")
    if pattern.between[0].encode().startswith(OURS):
        raise ConfigError(
            f"{pattern.text!r}: names that begin with {OURS.decode()!r} are of Trueup's own keys, which are never "
            f"rows; rename yours"
        )
    return pattern


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The rows of one bound side in keys."""

    pattern: Pattern
    #: Redis's name of what the keys hold.
    type: str
    #: Column of the members; empty where a key is a row.
    member: str
    #: Key columns in the projection's order, and what they are read as.
    key: Mapping[str, Kind]
    #: Fields, or the name of the only value; and what they are read as.
    values: Mapping[str, Kind]
    #: Field with the version that the source issued; a hash with that alone is a tombstone. Empty: there is none.
    version: str
    #: May one command be about several keys? Not where they are in different slots of a cluster.
    together: bool

    @classmethod
    def of(cls, binding: Binding, side: BoundSide, *, together: bool = True) -> Layout:
        key_kinds, value_kinds = kinds_of(binding, side)
        twice = [name for name, count in Counter(column.name for column in side.values).items() if count > 1]
        if twice:
            raise ConfigError(
                f"projections.{binding.projection.name}.columns: two of them are the field {twice[0]!r} of databases."
                f"{side.side.database}; compare one of them"
            )
        return cls(
            pattern=pattern_of(side.side),
            type=side.side.type or "string",
            member=side.side.member,
            key=dict(zip((column.name for column in side.key), key_kinds, strict=True)),
            values=dict(zip((column.name for column in side.values), value_kinds, strict=True)),
            version=_version(binding, side),
            together=together,
        )

    # --- names -----------------------------------------------------------------------------------------------------

    def key_at(self, name: bytes, member: bytes | None = None) -> Key:
        """The key of a row; ValueError if it is spelt as no key of these kinds is."""
        parts = self.pattern.parts(name.decode())  # UnicodeDecodeError is a ValueError
        if parts is None:
            raise ValueError("a part of it is empty")
        texts = dict(zip(self.pattern.names, parts, strict=True))
        if member is not None:
            texts[self.member] = member.decode()
        try:
            return tuple([part_of_key(kind, texts[column]) for column, kind in self.key.items()])
        except ValueError as wrong:
            raise ValueError(f"its {' or '.join(texts)} is {wrong}") from None

    def name_of(self, key: Key) -> tuple[bytes, bytes]:
        """The name of a row's key, and its member (empty where it is none).

        Raises DataProblem if no name can stand for it.
        """
        try:
            texts = dict(zip(self.key, texts_of(list(self.key.values()), key), strict=True))
        except ValueError as wrong:
            raise DataProblem(f"key {key}: {wrong}") from None
        name = self.pattern.name([texts[column] for column in self.pattern.names])
        if name is None:
            raise DataProblem(
                f"key {key} has no name of the pattern {self.pattern.text!r}: a part is empty, or holds the text that "
                f"ends it"
            )
        if name.encode().startswith(OURS):
            raise DataProblem(f"key {key}: its name {name!r} would be one of Trueup's own keys")
        return name.encode(), texts.get(self.member, "").encode()

    # --- reading ---------------------------------------------------------------------------------------------------

    def at_once(self, names: Sequence[bytes]) -> Command | None:
        """One command whose answer has the only value of each key; None for a key that is not there, or holds
        something else. None where there is no such command.
        """
        return ("MGET", *names) if self.type == "string" and self.together else None

    def reading(self, name: bytes, member: bytes = b"") -> list[Command]:
        """Commands whose answers `row` understands."""
        if self.type == "string":
            return [("GET", name)]
        if self.type == GENERATIONS:
            return [("HGETALL", name)]
        if not self.member:
            fields: Command = ("HLEN", name)  # it refuses a key of another type, which EXISTS does not
            return [fields, ("HMGET", name, *self.values)] if self.values else [fields]
        return [("HGET" if self.type == "hash" else "ZSCORE", name, member)]

    def row(self, answers: Sequence[Any]) -> Values | None:
        """The values of a row; None if there is none. Raises RedisError if the key holds something else, ValueError if
        what it holds cannot be understood.
        """
        for answer in answers:
            if isinstance(answer, RedisError):
                raise answer
        if self.type == GENERATIONS:
            total = _total(answers[0])
            return None if total is None else (total,) * len(self.values)
        if answers[0] is None or answers[0] == 0:
            return None
        if not self.values:
            return ()
        if self.version and not any(
            value is not None for field, value in zip(self.values, answers[-1], strict=True) if field != self.version
        ):
            return None
        stored = answers[-1] if self.of_fields else answers
        return tuple(understood(kind, value) for kind, value in zip(self.values.values(), stored, strict=True))

    @property
    def of_fields(self) -> bool:
        """Is a row a hash whose fields are columns?"""
        return self.type == "hash" and not self.member

    def fields_of(self, key: Key) -> Command:
        """The command for how many fields the hash of a row has."""
        return ("HLEN", self.name_of(key)[0])

    def emptying(self, key: Key) -> Command:
        """The command that takes every compared field away."""
        return ("HDEL", self.name_of(key)[0], *self.values)

    def generation_of(self, key: Key) -> Command:
        """The command for the generation that a key counts, in a list."""
        return ("HMGET", self.name_of(key)[0], GENERATION)

    def version_of(self, key: Key) -> Command:
        """The command for the version in a row's key, a tombstone's too."""
        return ("HGET", self.name_of(key)[0], self.version)

    def version_in(self, key: Key, values: Values) -> bytes | None:
        """The version among a row's values, as it is stored."""
        return dict(zip(self.values, self._stored(key, values), strict=True))[self.version]

    def paging(self, name: bytes, cursor: int) -> Command:
        """The command for the next members of a key."""
        return ("HSCAN" if self.type == "hash" else "ZSCAN", name, cursor, "COUNT", 1000)

    def members(self, answer: Sequence[bytes]) -> Iterator[tuple[bytes, Values]]:
        """Members and their values in such a page."""
        for member, value in zip(answer[::2], answer[1::2], strict=True):
            yield member, tuple(understood(kind, value) for kind in self.values.values())

    # --- writing ---------------------------------------------------------------------------------------------------

    def writing(self, key: Key, after: Values | None) -> list[Command]:
        """Commands that give a row these values (None: that take it away); what else its key has stays, a TTL too.

        Raises DataProblem for a value that cannot be stored as it is.
        """
        name, member = self.name_of(key)
        if after is None:
            if self.version:  # the version stays, so that no older message brings the row back
                return [("HDEL", name, *(field for field in self.values if field != self.version))]
            if not self.member:
                return [("DEL", name)]
            return [("HDEL" if self.type == "hash" else "ZREM", name, member)]
        stored = dict(zip(self.values, self._stored(key, after), strict=True))
        given = [part for field, value in stored.items() if value is not None for part in (field.encode(), value)]
        if all(value is None for field, value in stored.items() if field != self.version):
            raise DataProblem(
                f"key {key}: there is nothing to store: no column is compared, or all are NULL, and Redis has no NULL. "
                f'Leave the row out, use coalesce() in the query, or for a row of one value nulls = "zero"'
            )
        if self.of_fields:
            gone = [field for field, value in stored.items() if value is None]
            commands: list[Command] = [("HSET", name, *given)]
            return [*commands, ("HDEL", name, *gone)] if gone else commands
        value = given[-1]
        if self.type == "string":
            return [("SET", name, value, "KEEPTTL")]
        return [("HSET", name, member, value) if self.type == "hash" else ("ZADD", name, value, member)]

    def rebasing(self, key: Key, generation: int, after: Values) -> Command:
        """The command that begins to count `generation` of a key, at these values."""
        (base,) = self._stored(key, after)
        if base is None:
            raise DataProblem(f"key {key}: what the source counts is NULL, which is no number; use coalesce()")
        return ("EVAL", REBASE, 1, self.name_of(key)[0], digits(generation), base)

    def _stored(self, key: Key, after: Values) -> list[bytes | None]:
        try:
            pairs = zip(self.values.values(), after, strict=True)
            return [None if value is None else spelt(kind, value) for kind, value in pairs]
        except ValueError as lossy:
            raise DataProblem(f"key {key}: {lossy}") from None


def _version(binding: Binding, side: BoundSide) -> str:
    """The field of a hash that versioned writers keep the version in, where it is the declared one. A rollback has no
    source that issues versions, and meets their tombstones all the same; so the declaration is asked.
    """
    declared = binding.projection.version
    if declared not in binding.columns or side.side.type != "hash" or side.side.member or len(side.values) == 1:
        return ""
    name = side.values[binding.columns.index(declared)].name
    return name if name == VERSION else ""


def _total(stored: Sequence[bytes]) -> int | None:
    """What a generation-fenced hash amounts to; None where no generation counts. ValueError if a number is none."""
    fields = dict(zip(stored[::2], stored[1::2], strict=True))
    generation = fields.get(GENERATION.encode())
    if generation is None:
        return None
    parts = (fields.get(BASE.encode()), fields.get(DELTA.encode() + generation, b"0"))
    numbers = [understood(Kind.INTEGER, part) for part in parts]
    if not all(isinstance(number, int) for number in numbers):
        raise ValueError("its generation is not counted in integers")
    return int(sum(numbers))
