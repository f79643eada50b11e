"""A side named on the command line -> where it is read.

    sqlite:///shop.db#orders                     a table
    postgresql://user@host/shop#sales.orders     a table in a schema
    postgresql://user@host/shop#SELECT ...       a query
    orders.parquet, 'orders/*.csv'               files; settings may follow, as in
    'orders.csv delimiter=; types.paid=boolean'
    'redis://host/0#post:{post_id}:likes'        keys of a pattern; settings may follow, as in
    'redis://host/0#top:{day} type=sorted_set member=user_id types.day=date'
    'opensearch://host:9200#posts id={post_id}'   documents of an index

`${NAME}` in a URL is an environment variable, as in a configuration file: so a password need not be typed. What is
shown of a side never has one.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from trueup.core.side import settings_of
from trueup.errors import UsageError
from trueup.urls import expanded, without_secrets

#: First word of a query, behind comments; anything else behind the # is the name of a table.
_QUERY = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/)*+(?:\(|(?:select|with|values|from)(?=[\s*('\"`\[]|--|/\*))", re.IGNORECASE | re.DOTALL
)
#: A pattern of names: a column in braces. What follows it, word by word, are settings of the side.
_PATTERN = re.compile(r"\S*\{[^{}\s]+\}\S*(?:\s|$)")
#: An index: one of the words behind its name says how its documents are named.
_INDEX = re.compile(r"\S+\s(?:.*\s)?id=\S")
#: Schemes of files that are not on this machine.
_ELSEWHERE = frozenset({"http", "https", "ftp", "s3", "gs", "gcs", "az", "abfs", "abfss", "hdfs"})
#: Characters of a query that are shown.
_SHOWN = 60

HOW = (
    "write a side as sqlite:///file.db#table, postgresql://user@host/database#schema.table, "
    "URL#SELECT ..., a file (orders.parquet, orders.csv), keys (redis://host/0#post:{post_id}:likes), or "
    "documents (opensearch://host:9200#posts id={post_id})"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedSide:
    """One side as it was named."""

    #: What reports and messages call it: as typed, without a password, a long query cut.
    label: str
    #: Database URL as typed, with `${NAME}` still in it; empty for a file.
    written: str = ""
    #: The same with the variables replaced; holds the password.
    url: str = ""
    #: The `table`, `query`, `file`, `pattern` or `index` of the side.
    place: Mapping[str, str]
    #: What else is declared of it.
    settings: Mapping[str, Any] = field(default_factory=dict)
    #: All that stands behind the #, where that reads like a pattern or an index.
    behind: str = ""

    @property
    def table(self) -> str:
        return self.place.get("table", "")

    def among(self, places: Collection[str]) -> NamedSide:
        """The same in a database that has such places: of one without patterns and indexes a table is named so."""
        if not self.behind or "table" not in places or self.place.keys() & set(places):
            return self
        label = f"{self.label.partition('#')[0]}#{self.behind}"
        return replace(self, label=label, place={"table": self.behind}, settings={}, behind="")

    def __repr__(self) -> str:
        return f"NamedSide({self.label!r})"


def parse_side(text: str, role: str, environ: Mapping[str, str] = os.environ) -> NamedSide:
    """What a side named on the command line means; connects to nothing.

    Raises UsageError.
    """
    if "://" not in text.partition("#")[0]:
        return _file(text, role)
    written, _, what = _split(text, role)
    try:
        url = expanded(written, environ)
    except KeyError as missing:
        raise UsageError(f"{role}: the environment variable {missing.args[0]!r} is not set; export it") from None
    shown = without_password(url, role)
    scheme = url.partition("://")[0].lower()
    if scheme == "file":
        raise UsageError(f"{role}: a file is named by its path alone: {shown.partition('://')[2] or 'orders.csv'}")
    if scheme in _ELSEWHERE:
        why = f"{role}: {shown} is elsewhere, and files are read on this machine only: fetch it, and name its path"
        engine = f". A search engine is opensearch+{scheme}://host:9200#INDEX id={{KEY}}" if "http" in scheme else ""
        raise UsageError(why + engine)
    if not what.strip():
        raise UsageError(f"{role}: {shown} names no table: add one behind a #, or a query ({shown}#TABLE)")
    if _QUERY.match(what):
        query = " ".join(what.split())
        cut = query if len(query) <= _SHOWN else query[: _SHOWN - 1] + "…"
        return NamedSide(label=f"{shown}#{cut}", written=written, url=url, place={"query": what})
    if _PATTERN.match(what) or _INDEX.match(what):
        place, *words = what.split()
        origin = "pattern" if _PATTERN.match(what) else "index"
        return NamedSide(
            label=f"{shown}#{place}",
            written=written,
            url=url,
            place={origin: place},
            settings=_settings(words, role),
            behind=what,
        )
    return NamedSide(label=f"{shown}#{what}", written=written, url=url, place={"table": what})


def _settings(words: Sequence[str], role: str) -> dict[str, Any]:
    """`type=hash types.n=integer` as a side declares it.

    Raises UsageError.
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not name or not equals or not value:
            raise UsageError(
                f"{role}: {word!r} is no setting; behind a pattern, an index or a file write NAME=VALUE, as in "
                f"type=hash, delimiter=; or types.COLUMN=integer"
            )
        table, dot, column = name.partition(".")
        if dot:
            found.setdefault(table, {})[column] = value
        else:
            found[name] = value
    return found


def _split(text: str, role: str) -> tuple[str, str, str]:
    """URL, #, the rest. A # in a password would be taken for the one before the table, and the password be shown."""
    authority = text.partition("://")[2].partition("/")[0]
    if "@" in authority.partition("#")[2]:
        raise UsageError(f"{role}: a # in the user name or password of a URL is written %23")
    return text.partition("#")


def without_password(url: str, role: str = "url") -> str:
    """A URL as it may be shown. Raises UsageError if it is none."""
    try:
        return without_secrets(url)
    except ValueError as wrong:
        raise UsageError(f"{role}: what stands before the # is not a database URL: {wrong}; {HOW}") from None


def _file(text: str, role: str) -> NamedSide:
    """A file, or a pattern that files match, and its settings: words with a = behind it."""
    if not text.strip():
        raise UsageError(f"{role}: it is empty; {HOW}")
    words = text.split(" ")
    end = len(words)
    while end > 1 and "=" in words[end - 1] and not Path(" ".join(words[:end])).exists():
        end -= 1
    name = " ".join(words[:end])
    if not Path(name).suffix and end == len(words):
        if Path(name).is_file() or glob.has_magic(name):
            raise UsageError(f"{role}: {name!r} does not say what it is: write format=csv (json, parquet) behind it")
        raise UsageError(f"{role}: {name!r} is neither a database URL nor the name of a file; {HOW}")
    settings, known = _settings(words[end:], role), settings_of("file")
    unknown = [word for word in settings if word not in known]
    if unknown and not (Path(name).exists() or glob.has_magic(name)):
        raise UsageError(
            f"{role}: there is no file {text!r}, and {unknown[0]!r} is no setting of a file; known: "
            f"{', '.join(known)}. A database is named by its URL: {HOW}"
        )
    return NamedSide(label=name, place={"file": name}, settings=settings)


def relative_to(folder: Path, value: str) -> str:
    """A relative path as a file in `folder` names it."""
    return value if Path(value).is_absolute() else os.path.relpath(value, folder)


def declared(side: NamedSide, database: str, columns: Mapping[str, str]) -> dict[str, Any]:
    """The side as a projection declares it."""
    of = {} if "file" in side.place else {"database": database}
    return {**of, **side.place, **side.settings, **({"columns": dict(columns)} if columns else {})}
