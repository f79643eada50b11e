"""CSV and JSON files as sides of a test, written and read here by a few lines of Python: neither format has types."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tests.conformance.worlds import Place

#: A cell of CSV as it is written here: text is quoted, NULL is nothing.
_CELL = re.compile(r'"((?:[^"]|"")*)"|([^",\n]*)')
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


class Spelt(str):
    """A number as a file spells it."""

    __slots__ = ()


class TextFile(Place):
    """A folder of files, one for each table; the URL is that of a file beside them."""

    @property
    def engine(self) -> str:  # the name of the adapter here, and the ending of files
        return type(self).__name__.lower()

    def keep_open(self) -> None:
        """There is nothing to connect to."""

    def path(self, table: str) -> Path:
        return Path(self.url.partition("://")[2]).with_name(f"{table}.{self.engine}")

    def write(self, table: str, columns: Sequence[str], meanings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """`meanings`: what each column holds, as the matrix names it."""
        raise NotImplementedError

    def read(self, table: str, columns: Sequence[str], meanings: Sequence[str]) -> list[tuple[Any, ...]]:
        """All rows, values as the file spells them."""
        raise NotImplementedError


class Csv(TextFile):
    def write(self, table: str, columns: Sequence[str], meanings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        lines = [",".join(columns), *(",".join(map(_cell, row, meanings)) for row in rows)]
        self.path(table).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="")

    def read(self, table: str, columns: Sequence[str], meanings: Sequence[str]) -> list[tuple[Any, ...]]:
        with self.path(table).open(encoding="utf-8", newline="") as file:
            text = file.read()
        rows: list[list[Any]] = [[]]
        at = 0
        while at < len(text):
            found = _CELL.match(text, at)
            assert found is not None
            quoted, bare = found.groups()
            rows[-1].append(quoted.replace('""', '"') if quoted is not None else bare or None)
            at = found.end() + 1
            if text[found.end()] == "\n":
                rows.append([])
        header, *lines = rows[:-1]
        assert header == list(columns)
        return [tuple(line) for line in lines]


class Json(TextFile):
    """Objects, one a line."""

    def write(self, table: str, columns: Sequence[str], meanings: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        lines = []
        for row in rows:
            cells = zip(columns, row, meanings, strict=True)
            lines.append(", ".join(f"{json.dumps(name)}: {_member(value, of)}" for name, value, of in cells))
        self.path(table).write_text("".join(f"{{{line}}}\n" for line in lines), encoding="utf-8", newline="")

    def read(self, table: str, columns: Sequence[str], meanings: Sequence[str]) -> list[tuple[Any, ...]]:
        lines = self.path(table).read_text(encoding="utf-8").split("\n")[:-1]
        read = [json.loads(line, parse_int=Spelt, parse_float=Spelt) for line in lines]
        return [tuple(_told(row[name], of) for name, of in zip(columns, meanings, strict=True)) for row in read]


def _cell(value: Any, meaning: str) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str() if meaning == "number":
            return value
    return '"' + str(value).replace('"', '""') + '"'


def _member(value: Any, meaning: str) -> str:
    if isinstance(value, str) and (meaning == "json" or (meaning == "number" and _NUMBER.fullmatch(value))):
        return value
    return json.dumps(value, ensure_ascii=False)


def _told(value: Any, meaning: str) -> Any:
    """A member as its text; of a document, JSON."""
    if meaning == "json" and value is not None:
        return _document(value)
    return str(value) if isinstance(value, bool) else value


def _document(value: Any) -> str:
    match value:
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{_document(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_document, value)) + "]"
        case Spelt():
            return str(value)
    return json.dumps(value)
