"""What a case of the conformance matrix is: two small tables, and which rows differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Row = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Type:
    """One type as each engine spells it; an engine that is not named does not have it. Parquet has DuckDB's."""

    #: How the oracle reads its values: see `oracle.MEANINGS`.
    meaning: str
    postgresql: str = ""
    mysql: str = ""
    sqlite: str = ""
    duckdb: str = ""
    #: What is declared of it in a file without types.
    file: str = ""
    #: Engines in which the type does not say what it means: it means it beside one that does.
    silent: Sequence[str] = ()

    def on(self, engine: str) -> str:
        return str(getattr(self, {"file": "duckdb", "csv": "file", "json": "file"}.get(engine, engine), ""))

    def says(self, engine: str) -> bool:
        return engine not in self.silent


#: Meanings that not every engine has a type for: there the other side decides.
HINTED = ("uuid", "timestamp", "date", "time", "json")
_NOWHERE = ("postgresql", "mysql", "sqlite", "duckdb", "file", "csv", "json")
_NOT_IN_SQLITE = ("sqlite",)
_NOT_IN_FILES = ("csv", "json")
_TEXT_KEY = "varchar(190) CHARACTER SET utf8mb4 COLLATE "
TYPES: Mapping[str, Type] = MappingProxyType(
    {
        "bigint": Type(
            meaning="number", postgresql="bigint", mysql="bigint", sqlite="INTEGER", duckdb="BIGINT", file="integer"
        ),
        "integer": Type(
            meaning="number", postgresql="integer", mysql="int", sqlite="INTEGER", duckdb="INTEGER", file="integer"
        ),
        "numeric": Type(meaning="number", postgresql="numeric", file="decimal(38,20)"),
        "numeric, wide": Type(
            meaning="number",
            postgresql="numeric(38,20)",
            mysql="decimal(38,20)",
            duckdb="DECIMAL(38,20)",
            file="decimal(38,20)",
        ),
        "numeric(12,2)": Type(
            meaning="number",
            postgresql="numeric(12,2)",
            mysql="decimal(12,2)",
            duckdb="DECIMAL(12,2)",
            file="decimal(12,2)",
        ),
        "numeric(14,4)": Type(
            meaning="number",
            postgresql="numeric(14,4)",
            mysql="decimal(14,4)",
            duckdb="DECIMAL(14,4)",
            file="decimal(14,4)",
        ),
        "float64": Type(
            meaning="float",
            postgresql="double precision",
            mysql="double",
            sqlite="REAL",
            duckdb="DOUBLE",
            file="float",
        ),
        "float64, special": Type(meaning="float", postgresql="double precision", duckdb="DOUBLE", file="float"),
        "float32": Type(meaning="float32", postgresql="real", mysql="float", duckdb="FLOAT"),
        "text": Type(
            meaning="text",
            postgresql="text",
            mysql="text COLLATE utf8mb4_general_ci",
            sqlite="TEXT",
            duckdb="VARCHAR",
            file="text",
        ),
        "text key": Type(
            meaning="text",
            postgresql='text COLLATE "C"',
            mysql=_TEXT_KEY + "utf8mb4_nopad_bin",
            sqlite="TEXT COLLATE BINARY",
            duckdb="VARCHAR",
            file="text",
        ),
        "text key, language": Type(
            meaning="text",
            postgresql='text COLLATE "en-US-x-icu"',
            mysql=_TEXT_KEY + "utf8mb4_general_ci",
            sqlite="TEXT COLLATE NOCASE",
            duckdb="VARCHAR COLLATE NOCASE",
            file="text",
        ),
        "boolean": Type(
            meaning="number",
            postgresql="boolean",
            mysql="boolean",
            sqlite="BOOLEAN",
            duckdb="BOOLEAN",
            file="boolean",
            silent=("mysql",),
        ),
        "bytes": Type(meaning="bytes", postgresql="bytea", mysql="blob", sqlite="BLOB", duckdb="BLOB"),
        "uuid": Type(
            meaning="uuid",
            postgresql="uuid",
            mysql="uuid",
            sqlite="UUID",
            duckdb="UUID",
            file="uuid",
            silent=_NOT_IN_SQLITE,
        ),
        "uuid as text": Type(
            meaning="uuid", postgresql="text", mysql="char(36)", sqlite="TEXT", duckdb="VARCHAR", silent=_NOWHERE
        ),
        "uuid as bytes": Type(
            meaning="uuid", postgresql="bytea", mysql="binary(16)", sqlite="BLOB", duckdb="BLOB", silent=_NOWHERE
        ),
        "timestamp": Type(
            meaning="timestamp",
            postgresql="timestamp",
            mysql="datetime(6)",
            sqlite="TIMESTAMP",
            duckdb="TIMESTAMP",
            file="timestamp",
            silent=_NOT_IN_SQLITE,
        ),
        "instant": Type(
            meaning="timestamp",
            postgresql="timestamptz",
            mysql="timestamp(6) NULL",
            duckdb="TIMESTAMPTZ",
            file="timestamptz",
        ),
        "timestamp as text": Type(
            meaning="timestamp", postgresql="text", mysql="text", sqlite="TEXT", duckdb="VARCHAR", silent=_NOWHERE
        ),
        "date": Type(
            meaning="date",
            postgresql="date",
            mysql="date",
            sqlite="DATE",
            duckdb="DATE",
            file="date",
            silent=_NOT_IN_SQLITE,
        ),
        "date, special": Type(meaning="text", postgresql="date"),
        "time": Type(
            meaning="time",
            postgresql="time",
            mysql="time(6)",
            sqlite="TIME",
            duckdb="TIME",
            file="time",
            silent=_NOT_IN_SQLITE,
        ),
        "time as text": Type(
            meaning="time", postgresql="text", mysql="text", sqlite="TEXT", duckdb="VARCHAR", silent=_NOWHERE
        ),
        "interval": Type(meaning="interval", postgresql="interval", duckdb="INTERVAL"),
        "json": Type(
            meaning="json",
            postgresql="jsonb",
            mysql="json",
            sqlite="JSON",
            duckdb="JSON",
            file="text",
            silent=_NOT_IN_FILES,
        ),
        "json, as spelt": Type(
            meaning="json",
            postgresql="json",
            mysql="json",
            sqlite="JSON",
            duckdb="JSON",
            file="text",
            silent=_NOT_IN_FILES,
        ),
        "json, long numbers": Type(  # of a column that is declared JSON, SQLite makes numbers of its own
            meaning="json",
            postgresql="jsonb",
            mysql="json",
            sqlite="JSON TEXT",
            duckdb="JSON",
            file="text",
            silent=_NOT_IN_FILES,
        ),
        "json as text": Type(
            meaning="json", postgresql="text", mysql="text", sqlite="TEXT", duckdb="VARCHAR", silent=_NOWHERE
        ),
        "integers": Type(meaning="list", postgresql="bigint[]", duckdb="BIGINT[]"),
        "numbers": Type(meaning="list", postgresql="numeric(12,2)[]", duckdb="DECIMAL(12,2)[]"),
        "integers in lists": Type(meaning="list", postgresql="bigint[]", duckdb="BIGINT[][]"),
        "texts": Type(meaning="list", postgresql="text[]", duckdb="VARCHAR[]"),
        "struct": Type(meaning="struct", duckdb="STRUCT(a VARCHAR, b INTEGER)"),
        "enum": Type(meaning="text", postgresql="mood", mysql="enum('sad','ok','happy')", file="text"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Two tables."""

    name: str
    #: What it is about: the pitfall.
    about: str
    #: Column -> type of the source.
    columns: Mapping[str, str]
    #: Columns whose type is another one in the target.
    target_types: Mapping[str, str] = field(default_factory=dict)
    key: tuple[str, ...] = ("id",)
    #: The key is unique and declared so.
    unique: bool = True
    source: Sequence[Row] = ()
    target: Sequence[Row] = ()
    #: What differs: key, parts joined by |, NULL as such -> kind.
    differ: Mapping[str, str] = field(default_factory=dict)
    #: Sources that do not have these values.
    not_in: tuple[str, ...] = ()
    #: There is no rule that everybody would agree on, or the key is no key: to refuse is as right as the answer.
    refusal_is_right: bool = False

    def type_of(self, side: str, column: str) -> Type:
        name = self.columns[column]
        return TYPES[self.target_types.get(column, name) if side == "target" else name]

    def fits(self, source: str, target: str) -> bool:
        """Do both engines have the types, and is what each column means said by one side at least?"""
        if source in self.not_in:
            return False
        for column in self.columns:
            types = [(self.type_of("source", column), source), (self.type_of("target", column), target)]
            if not all(of.on(engine) for of, engine in types):
                return False
            if types[0][0].meaning in HINTED and not any(of.says(engine) for of, engine in types):
                return False
        return True


def values(
    about: str,
    name: str,
    of: str,
    pairs: Sequence[tuple[Any, Any, bool]],
    *,
    target: str = "",
    refusal_is_right: bool = False,
    not_in: tuple[str, ...] = (),
) -> Case:
    """A case of one column: pairs of values, and whether they are the same; a row for each."""
    return Case(
        name=name,
        about=about,
        columns={"id": "bigint", "v": of},
        target_types={"v": target} if target else {},
        source=[(n, a) for n, (a, _, _) in enumerate(pairs, 1)],
        target=[(n, b) for n, (_, b, _) in enumerate(pairs, 1)],
        differ={str(n): "different" for n, (_, _, same) in enumerate(pairs, 1) if not same},
        refusal_is_right=refusal_is_right,
        not_in=not_in,
    )


def _in_utc(key: str) -> str:
    """A key as the oracle tells it."""
    return key.removesuffix("+00:00")


def keys(about: str, name: str, of: str, both: Sequence[str], source: Sequence[str], target: Sequence[str]) -> Case:
    """A case of one key column, not declared unique: keys of both sides, of the source only, of the target only."""
    return Case(
        name=name,
        about=about,
        columns={"id": of, "v": "bigint"},
        unique=False,
        source=[(key, n) for n, key in enumerate([*both, *source])],
        target=[(key, n) for n, key in enumerate([*both, *target])],
        differ={**dict.fromkeys(map(_in_utc, source), "missing"), **dict.fromkeys(map(_in_utc, target), "extra")},
    )
