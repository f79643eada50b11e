"""Public schemas for `bench/discover.py`: installed from their packages, filled with data that agrees, then broken.

What is derived from what is listed by hand in `bench/derived/*.toml`. Rows are made up: keys that exist, moments that
grow with the key, texts and numbers that repeat. Then each listed column is computed from its list, and a few rows of
it are changed.
"""

from __future__ import annotations

import datetime as dt
import decimal
import random
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

LISTS = Path(__file__).parent / "derived"
#: Share of the rows of a derived column that are changed, of those that hold something (not NULL, 0 or false), and how
#: many at least.
PLANTED, PLANTED_MIN = 0.05, 3
#: What Django needs besides the applications.
_SETTINGS = """
{settings}
SECRET_KEY = "x"
USE_TZ = True
DATABASES = {{"default": {database!r}}}
if "ROOT_URLCONF" not in globals():
    ROOT_URLCONF = "django.urls"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
"""
_FROM = dt.datetime(2024, 1, 1)


@dataclass(kw_only=True)
class Listed:
    """One list: a package, and the columns of its schema that are derived."""

    name: str
    package: str
    database: str
    settings: str = ""
    rows: dict[str, int]
    values: dict[str, list[Any]] = field(default_factory=dict)
    #: References that the schema does not declare.
    refers: dict[str, str] = field(default_factory=dict)
    derived: list[dict[str, str]]


def listed(name: str) -> Listed:
    data = tomllib.loads((LISTS / f"{name}.toml").read_text(encoding="utf-8"))
    return Listed(name=name, **data)


# --- installing ------------------------------------------------------------------------------------------------------


def install(schema: Listed, home: Path, url: sa.URL) -> None:
    """The package's own schema, made by the package's own migrations or statements, in an empty database."""
    if schema.settings:
        _django(schema, home, url)
    else:
        _statements(schema, home, url)


def _django(schema: Listed, home: Path, url: sa.URL) -> None:
    place = home / schema.name
    python = place / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        packages = [schema.package, "setuptools<80", "psycopg2-binary"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    engine = {"sqlite": "sqlite3", "postgresql": "postgresql"}[schema.database]
    database = {
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": url.database,
        "USER": url.username or "",
        "HOST": url.host or "",
        "PORT": url.port or "",
    }
    (home / f"{schema.name}_settings.py").write_text(_SETTINGS.format(settings=schema.settings, database=database))
    subprocess.run(
        [str(python), "-W", "ignore", "-m", "django", "migrate", "--run-syncdb", "--skip-checks", "-v", "0"],
        check=True,
        cwd=home,
        env={"DJANGO_SETTINGS_MODULE": f"{schema.name}_settings", "PYTHONPATH": str(home), "PATH": "/usr/bin:/bin"},
    )


def _statements(schema: Listed, home: Path, url: sa.URL) -> None:
    """A Debian package with a file of statements."""
    place = home / schema.name
    if not place.exists():
        place.mkdir()
        subprocess.run(["apt-get", "download", schema.package], cwd=place, check=True)
        (package,) = place.glob("*.deb")
        subprocess.run(["dpkg", "-x", str(package), str(place)], check=True)
    (file,) = place.glob("usr/share/*/maintenance/tables-generated.sql")
    text = re.sub(r"/\*.*?\*/|--[^\n]*", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    engine = sa.create_engine(url.set(drivername=f"{url.drivername}+pymysql"))
    with engine.begin() as connection:
        for statement in text.split(";"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    engine.dispose()


def version(schema: Listed, home: Path) -> str:
    """The exact version of a Debian package."""
    found = list((home / schema.name).glob("*.deb"))
    return f"{schema.package} {found[0].name.split('_')[1].replace('%3a', ':')}" if found else schema.package


# --- filling ---------------------------------------------------------------------------------------------------------


class Filler:
    """Rows for every table, each reference to a row that is there."""

    def __init__(self, schema: Listed, engine: sa.Engine) -> None:
        self.schema = schema
        self.engine = engine
        self.random = random.Random(7)
        self.meta = sa.MetaData()
        self.meta.reflect(engine)
        #: (table, column) -> the values that a reference to it may have.
        self.there: dict[str, list[Any]] = {}
        more = {"include_auto_indexes": True} if engine.dialect.name == "sqlite" else {}
        indexes = sa.inspect(engine).get_multi_indexes(**more)
        self.unique = {
            name: [index["column_names"] for index in held if index["unique"]] for (_, name), held in indexes.items()
        }
        self.later: list[tuple[sa.Table, sa.Column[Any], str]] = []

    def fill(self) -> None:
        with self.engine.begin() as connection:
            self._unchecked(connection)
            for table in self._parents_first():
                if table.name != "django_content_type":
                    connection.execute(table.delete())
                    self._table(connection, table)
                for column in table.columns:
                    if column.primary_key or column.unique or f"{table.name}.{column.name}" in self._named():
                        rows = connection.execute(sa.select(column).where(column.is_not(None)))
                        self.there[f"{table.name}.{column.name}"] = list(rows.scalars())
            for table, column, to in self.later:
                self._again(connection, table, column, to)

    def derive(self) -> None:
        """Each listed column, computed."""
        with self.engine.begin() as connection:
            self._unchecked(connection)
            for item in self.schema.derived:
                table, column = item["column"].split(".")
                quote = self.engine.dialect.identifier_preparer.quote
                value = item["is"]
                if not self.meta.tables[table].c[column].nullable:  # nothing that it could be derived from
                    value = f"coalesce({value}, t.{quote(column)})"
                connection.exec_driver_sql(f"UPDATE {quote(table)} AS t SET {quote(column)} = {value}")
            self._analyze(connection)

    def _analyze(self, connection: sa.Connection) -> None:
        if self.engine.dialect.name == "postgresql":
            connection.exec_driver_sql("ANALYZE")

    def _unchecked(self, connection: sa.Connection) -> None:
        off = {
            "postgresql": "SET session_replication_role = replica",
            "mysql": "SET foreign_key_checks = 0, sql_mode = ''",
            "mariadb": "SET foreign_key_checks = 0, sql_mode = ''",
        }
        if self.engine.dialect.name in off:
            connection.exec_driver_sql(off[self.engine.dialect.name])

    def _named(self) -> set[str]:
        return set(self.schema.refers.values())

    def _refers(self, table: sa.Table, column: sa.Column[Any]) -> str | None:
        """What a column refers to: table.column."""
        given = self.schema.refers.get(f"{table.name}.{column.name}")
        if given:
            return given
        return next((f"{key.column.table.name}.{key.column.name}" for key in column.foreign_keys), None)

    def _parents_first(self) -> list[sa.Table]:
        waiting = {table.name: table for table in self.meta.tables.values()}
        done: list[sa.Table] = []
        while waiting:
            free = [
                table
                for table in waiting.values()
                if all(
                    (to := self._refers(table, c)) is None or to.split(".")[0] not in waiting.keys() - {table.name}
                    for c in table.columns
                )
            ]
            # A circle is cut where the fewest references are left for later.
            chosen = free or [min(waiting.values(), key=lambda table: len(table.foreign_keys))]
            done.extend(waiting.pop(table.name) for table in chosen)
        return done

    def _table(self, connection: sa.Connection, table: sa.Table) -> None:
        wanted = self.schema.rows.get(table.name, self.schema.rows["default"])
        rows = []
        used: list[set[Any]] = [set() for _ in self._unique(table)]
        for at in range(1, wanted + 1):
            row = {
                column.name: self._value(table, column, at, wanted) for column in table.columns if not column.computed
            }
            for seen, names in zip(used, self._unique(table), strict=True):
                held = tuple(row.get(name) for name in names)
                if held in seen and None not in held:
                    break
            else:
                for seen, names in zip(used, self._unique(table), strict=True):
                    seen.add(tuple(row.get(name) for name in names))
                rows.append(row)
        if rows:
            connection.execute(self._insert(table), rows)

    def _insert(self, table: sa.Table) -> sa.Insert:
        """What a partial or prefix index forbids is left out."""
        if self.engine.dialect.name == "postgresql":
            return postgresql.insert(table).on_conflict_do_nothing()
        return table.insert().prefix_with("OR IGNORE" if self.engine.dialect.name == "sqlite" else "IGNORE")

    def _unique(self, table: sa.Table) -> list[list[str]]:
        return [[c.name for c in table.primary_key.columns], *self.unique[table.name]]

    def _value(self, table: sa.Table, column: sa.Column[Any], at: int, wanted: int) -> Any:
        name, draw = f"{table.name}.{column.name}", self.random
        if name in self.schema.values:
            return draw.choice(self.schema.values[name])
        to = self._refers(table, column)
        if to is not None:
            return self._reference(table, column, to, at)
        alone = [column.name] in self._unique(table)
        if column.primary_key and isinstance(column.type, sa.Integer):
            return at
        if isinstance(column.type, sa.DateTime | sa.Date):
            return self._moment(column, at, wanted)
        return _plain(column.type, at if alone else draw.randint(1, 50), draw)

    def _reference(self, table: sa.Table, column: sa.Column[Any], to: str, at: int) -> Any:
        if to.split(".", maxsplit=1)[0] == table.name:
            return None if column.nullable and self.random.random() < 0.5 else self.random.randint(1, max(at - 1, 1))
        if to not in self.there:
            self.later.append((table, column, to)) if (table, column, to) not in self.later else None
            return None if column.nullable else at
        if not self.there[to] or (column.nullable and self.random.random() < 0.1):
            return None
        if [column.name] in self._unique(table):  # one row beside each
            return self.there[to][at - 1] if at <= len(self.there[to]) else None
        return self.there[to][int(len(self.there[to]) * self.random.random() ** 1.5)]

    def _moment(self, column: sa.Column[Any], at: int, wanted: int) -> Any:
        """Moments of a table grow with its key; those that may be missing mostly are."""
        if column.nullable and self.random.random() < 0.7:
            return None
        moment = _FROM + dt.timedelta(seconds=int(at * 2.5e7 / wanted) + self.random.randint(0, int(2.4e7 / wanted)))
        if getattr(column.type, "timezone", False):
            moment = moment.replace(tzinfo=dt.UTC)
        return moment if isinstance(column.type, sa.DateTime) else moment.date()

    def _again(self, connection: sa.Connection, table: sa.Table, column: sa.Column[Any], to: str) -> None:
        """A reference within a circle, now that all rows are there."""
        (key,) = table.primary_key.columns
        values = self.there[to]
        if any(column.name in names for names in self._unique(table)):  # one row beside each: those of nobody go
            connection.execute(table.delete().where(column.is_not(None), column.not_in(values)))
            return
        for row in connection.execute(sa.select(key)).scalars().all():
            if not column.nullable or self.random.random() < 0.9:
                connection.execute(table.update().where(key == row).values({column: self.random.choice(values)}))

    # --- planting ------------------------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of all tables with a derived column, while all agree."""
        names = {item["column"].split(".")[0] for item in self.schema.derived}
        with self.engine.connect() as connection:
            return {
                name: [dict(row) for row in connection.execute(sa.select(self.meta.tables[name])).mappings()]
                for name in sorted(names)
            }

    def plant(self, rows: dict[str, list[dict[str, Any]]]) -> dict[str, int]:
        """Change some values of each derived column; how many."""
        planted = {}
        with self.engine.begin() as connection:
            self._unchecked(connection)
            for item in self.schema.derived:
                name, column = item["column"].split(".")
                table = self.meta.tables[name]
                held = [row for row in rows[name] if row[column]]
                many = min(max(int(len(held) * PLANTED), PLANTED_MIN), len(held))
                for row in self.random.sample(held, many):
                    self._set(connection, table, row, column, self._changed(row[column]))
                planted[item["column"]] = many
        return planted

    def mend(self, rows: dict[str, list[dict[str, Any]]]) -> None:
        with self.engine.begin() as connection:
            self._unchecked(connection)
            for item in self.schema.derived:
                name, column = item["column"].split(".")
                for row in rows[name]:
                    self._set(connection, self.meta.tables[name], row, column, row[column])

    def _set(self, connection: sa.Connection, table: sa.Table, row: dict[str, Any], column: str, value: Any) -> None:
        key = [c == row[c.name] for c in table.primary_key.columns]
        connection.execute(table.update().where(*key).values({column: value}))

    def _changed(self, value: Any) -> Any:
        match value:
            case bool():
                return not value
            case int():
                return value + self.random.randint(1, 3)
            case float() | decimal.Decimal():
                return value + 1
            case dt.datetime() | dt.date():
                return value - dt.timedelta(days=1)
            case bytes():
                return value + b"~"
        return f"{value}~"


def _plain(type_: sa.types.TypeEngine[Any], number: int, draw: random.Random) -> Any:
    match type_:
        case sa.Boolean():
            return draw.random() < 0.15
        case sa.Float():
            return float(number)
        case sa.Numeric():
            return decimal.Decimal(draw.randint(100, 9_999)) / 100
        case sa.Integer():
            return number
        case sa.JSON() | postgresql.HSTORE():
            return {}
        case sa.ARRAY():
            return []
        case sa.Uuid():
            return uuid.UUID(int=draw.getrandbits(128))
        case sa.LargeBinary() | sa.VARBINARY() | sa.BINARY():
            return f"b{number}".encode()
        case sa.Enum():
            return draw.choice(type_.enums)
        case sa.String():
            text = f"w{number}"
            return text[: type_.length] if type_.length else text
        case postgresql.INET():
            return "127.0.0.1"
        case postgresql.TSVECTOR():
            return "word"
        case sa.Time():
            return dt.time(12)
        case sa.Interval():
            return dt.timedelta(hours=1)
    return None


def lists() -> Iterator[str]:
    yield from sorted(path.stem for path in LISTS.glob("*.toml"))
