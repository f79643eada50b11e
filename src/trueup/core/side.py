"""Where the two sides of a projection are: databases, and what in them is a side."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from trueup.core.declared import Declared, Duration, Share
from trueup.core.pace.settings import Pace

#: `module:name`, either with dots in it.
_PYTHON = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def python_problem(reference: str) -> str:
    """Why a text names no Python object; empty if it may."""
    return "" if _PYTHON.fullmatch(reference) else f"{reference!r} names no Python object; write module:name"


class Database(Declared):
    """A database being reconciled."""

    #: SQLAlchemy URL: `postgresql://user@host/db`, `sqlite:///file.db`. Never printed with its password.
    url: SecretStr
    #: Upper limit of one reading statement, seconds.
    statement_timeout: Duration = Field(default=300.0, gt=0)
    #: Upper limit of waiting for a lock of the application, seconds.
    lock_timeout: Duration = Field(default=0.2, gt=0)
    #: Statements of one run that look for differences in it at a time, at most.
    readers: int = Field(default=2, ge=1, le=4)
    #: May Trueup keep its marker tables (`trueup_applied`, `trueup_fence`) in this database? Without them an outcome
    #: that a crash left open can only be called `converged`, never `applied`.
    markers: bool = True
    #: How much the others who use it may be slowed on average, as a share. Declaring it switches pacing on.
    protect: Share | None = None
    #: More about pacing; declaring it switches pacing on, with `protect` 10 % where that is not given.
    pace: Pace | None = None


#: Names under which the files of projections, and their Python sides, are a database.
FILES = "<files>"
PYTHON = "<python>"
#: Places that are in no declared database -> what stands for one.
_NOWHERE: Mapping[str, str] = {"file": FILES, "python": PYTHON}


#: Settings that name what a side is; each side has one of them.
PLACES = ("table", "query", "file", "pattern", "index", "python")
#: Other settings -> the places that they say something about; those that are not here go with every place.
_ABOUT: Mapping[str, tuple[str, ...]] = {
    "format": ("file",),
    "delimiter": ("file",),
    "null": ("file",),
    "types": ("file", "pattern", "index", "python"),
    "timeout": ("python",),
    "type": ("pattern",),
    "member": ("pattern",),
    "expiring": ("pattern",),
    "id": ("index",),
    "sort": ("index",),
}


def settings_of(place: str) -> list[str]:
    """Settings that say something about such a place, and not about every one."""
    return [name for name, places in _ABOUT.items() if place in places]


def _delimiter(text: str) -> str:
    """One character; a tab may be written as in Python."""
    text = "\t" if text == "\\t" else text
    if len(text) > 1 or text in ('"', "\n", "\r"):
        raise ValueError(
            f"{text!r} cannot be between two columns: that is one character, and neither a quote nor a line end"
        )
    return text


class Side(Declared):
    """Where one side of a projection is read: a table or a query in one database, files, keys of a pattern, the
    documents of an index, or a Python function.
    """

    #: Name of a declared database; not given with `file` or `python`.
    database: str = ""
    #: Table, with its schema where it is not the default one.
    table: str | None = None
    #: One SELECT in the database's own dialect.
    query: str | None = None
    #: A file, or a pattern that files match (`orders/*.parquet`): Parquet, CSV or JSON.
    file: str | None = None
    #: Keys of a key-value store, with the columns that are in them in braces: `post:{post_id}:likes`.
    pattern: str | None = None
    #: What a key of `pattern` holds. Default: one value.
    type: Literal["string", "hash", "sorted_set", "generations"] | None = None
    #: Column that a hash's fields, or a sorted set's members, are values of: each is a row of its own, and what it
    #: holds the row's only value.
    member: str = ""
    #: Keys of `pattern` may go away by themselves: one that is missing is no drift.
    expiring: bool = False
    #: Documents of an index of a search engine: its name, or an alias of one index.
    index: str | None = None
    #: How the documents of `index` are named, with the key's columns in braces: `{post_id}`.
    id: str = ""
    #: Field of `index` that tells its documents apart, to page by. Default: what the engine sorts ids by.
    sort: str = ""
    #: A Python function that delivers the rows: `module:name`, seen from the folder of the configuration file.
    python: str | None = None
    #: How long `python` may take for one reading, seconds.
    timeout: Duration = Field(default=300.0, gt=0)
    #: Format of `file`, where its name does not end in one.
    format: Literal["parquet", "csv", "json"] | None = None
    #: Types of columns where the store has none (CSV, JSON, keys and values), or another one is meant (fields of an
    #: index). Default: the type of the column that it is compared with.
    types: dict[str, str] = Field(default_factory=dict)
    #: What is between two columns of a CSV file, one character. Default: a comma, in `.tsv` a tab.
    delimiter: Annotated[str, AfterValidator(_delimiter)] = ""
    #: How a CSV file writes NULL, not quoted. Default: as nothing.
    null: str = ""
    #: Name used in the projection -> name in this database, where they differ.
    columns: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _in_no_database(cls, given: Any) -> Any:
        for origin, stand_in in _NOWHERE.items():
            if isinstance(given, dict) and given.get(origin) is not None and "database" not in given:
                return {**given, "database": stand_in}
        return given

    @model_validator(mode="after")
    def _one_of(self) -> Side:
        given = [name for name in PLACES if getattr(self, name) is not None]
        if len(given) != 1:
            known = " or ".join([", ".join(f"`{name}`" for name in PLACES[:-1]), f"`{PLACES[-1]}`"])
            raise ValueError(f"give either {known}, one of them")
        stand_in = _NOWHERE.get(given[0])
        if stand_in and self.database != stand_in:
            raise ValueError(f"a `{given[0]}` is in no database: leave `database` out")
        if self.python is not None and (problem := python_problem(self.python)):
            raise ValueError(problem)
        if not self.database:
            raise ValueError("`database` is missing: the name of a declared database")
        for name, places in _ABOUT.items():
            if name in self.model_fields_set and getattr(self, name) and given[0] not in places:
                raise ValueError(f"`{name}` is about a `{'`, or a `'.join(places)}`")
        return self

    @property
    def origin(self) -> str:
        """Which of `PLACES` it is."""
        return next(name for name in PLACES if getattr(self, name) is not None)

    @property
    def place(self) -> str:
        """What is given there."""
        return str(getattr(self, self.origin))

    def physical(self, name: str) -> str:
        """What this database calls the projection's column `name`."""
        return self.columns.get(name, name)
