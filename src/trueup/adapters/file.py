"""Files as sides: Parquet, CSV and JSON, read through DuckDB in memory. There is nothing to repair in a file.

A file that is written while it is read could show half of each of its two states. So size, time and identity of each
file are compared before and after every reading, and one that changed is a broken read.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from trueup.adapters import Capabilities, FoundTable, Look, Stream, Survey
from trueup.adapters import _files as files
from trueup.adapters._duckdb import DuckdbReader
from trueup.adapters._duckdb_values import column_of
from trueup.adapters._read_only import NO_WRITING, ReadOnly
from trueup.adapters._results import RowStream
from trueup.core.binding import Binding, BoundSide, Column, Shape, near
from trueup.core.plan import Part
from trueup.core.projection import Database, Side
from trueup.core.row import Batch, Kind, Value
from trueup.errors import BrokenRead, ConfigError, DesignProblem, TrueupError

#: What a text of a file is converted to, to be compared with a column of a kind. The others are read as text, and
#: understood where they are compared.
_AS_KIND = {
    Kind.INTEGER: "integer",
    Kind.FLOAT: "float",
    Kind.BOOLEAN: "boolean",
    Kind.UUID: "uuid",
    Kind.DATE: "date",
    Kind.TIME: "time",
    Kind.TIMESTAMP: "timestamp",
    Kind.INSTANT: "timestamptz",
}
#: Files that a message names.
NAMED_MAX = 3
#: What DuckDB says about a file that cannot be read to its end, as far as it shows no content.
_LINE = re.compile(r"CSV Error on Line: (\d+)")


def connect(name: str, database: Database) -> FileAdapter:
    return FileAdapter(name, database)


class FileStream(RowStream):
    """Rows of files that did not change while they were read."""

    parts = False  # which is known at the end

    def __init__(
        self,
        adapter: FileAdapter,
        binding: Binding,
        side: BoundSide,
        statement: Callable[[], sa.Select[Any]],
        *,
        tokens: bool,
        state: files.State,
        found: Sequence[Path],
    ) -> None:
        """`found`: what is read; `state`: as it was before."""
        super().__init__(adapter, binding, side, statement, tokens=tokens)
        self._files = adapter
        self.state, self.found = state, found

    def __iter__(self) -> Iterator[Batch]:
        batches = super().__iter__()
        while True:
            self._files.now_reads(self.found)  # another may have been read in between
            batch = next(batches, None)
            if batch is None:
                break
            yield batch
        if files.state_of(self.found) != self.state:
            self.ended = False
            raise BrokenRead(f"{self.found[0].parent}: files changed while they were read; run again")


class FileAdapter(ReadOnly, DuckdbReader):
    """Reads files."""

    capabilities = Capabilities(dialect="duckdb", writing=NO_WRITING, places=("file",), embedded=True)

    def _create_engine(self, database: Database) -> sa.Engine:  # noqa: ARG002 - there is one for all files
        #: Files that this thread reads, for messages.
        self._now = threading.local()
        return self._engine(lambda: duckdb.connect(":memory:", config=self.configuration()))

    @property
    def where(self) -> str:
        return getattr(self._now, "read", "files")

    def now_reads(self, found: Sequence[Path]) -> None:
        """What is read by this thread from now on."""
        self._now.read = ", ".join(map(str, found[:NAMED_MAX])) + (", …" if len(found) > NAMED_MAX else "")

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(prefix="trueup-json-")

    def close(self) -> None:
        super().close()
        if "_folder" in self.__dict__:
            self._folder.cleanup()

    def tables(self) -> list[FoundTable]:
        return []

    @contextmanager
    def _unchanged(self, found: Sequence[Path]) -> Iterator[None]:
        """Around what reads these files. Raises BrokenRead if one of them changed meanwhile."""
        state = files.state_of(found)
        self.now_reads(found)
        yield
        if files.state_of(found) != state:
            raise BrokenRead(f"{self.where}: files changed while they were read; run again")

    # --- what to read --------------------------------------------------------------------------------------------

    def describe(self, side: Side) -> Shape:
        found = files.files_of(side)
        self.now_reads(found[:1])
        if files.format_of(side, found) == "parquet":
            columns = self._parquet_columns(side, found)
        else:
            columns = self._text_columns(side, found)
        return Shape(columns=columns, parts=tuple(map(str, found)), dialect=self.capabilities.dialect)

    def describe_table(self, connection: sa.Connection, table: str) -> Shape:  # noqa: ARG002
        raise ConfigError(f"databases.{self.name}: files are no tables; there is no {table!r}")

    def _parquet_columns(self, side: Side, found: Sequence[Path]) -> Mapping[str, Column]:
        """Columns of Parquet files, which have to be the same in each: DuckDB would convert to those of the first."""
        columns: dict[str, Column] = {}
        with self.reading() as connection:
            for path in found:
                self.now_reads([path])
                here = self.query_columns(connection, files.parquet([path]))
                schema = [row._asdict() for row in connection.exec_driver_sql(files.parquet_schema(path))]
                here = _without_losses(side, here, files.lossy(path, schema))
                if path == found[0]:
                    columns = here
                elif here != columns:
                    raise ConfigError(
                        f"{path} has other columns or types than {found[0]}: {_unlike(here, columns)}. Name them apart"
                    )
        return columns

    def query_columns(self, connection: sa.Connection, query: str) -> dict[str, Column]:
        """Columns of files; one that cannot be read is no wrong query."""
        result = connection.exec_driver_sql(f"{query} LIMIT 0")
        assert result.cursor is not None
        return {name: column_of(name, str(type_)) for name, type_, *_ in result.cursor.description}

    def _text_columns(self, side: Side, found: Sequence[Path]) -> Mapping[str, Column]:
        names = self._text_names(side, found)[1]
        for name in side.types:
            if name not in names:
                raise ConfigError(f"types: {side.file} has no column {name!r}; {near(name, names)}")
        untyped = Column(name="", kind=Kind.ANY, type_name="text of a file", texts=True)
        untyped = replace(untyped, members=files.format_of(side, found) == "json")
        columns = {name: replace(untyped, name=name) for name in names}
        declared = {name: type_ for name, type_ in side.types.items() if type_ != "text"}
        for name, type_ in side.types.items():
            columns[name] = Column(name=name, kind=Kind.TEXT, type_name="VARCHAR")
            if name in declared:
                columns[name] = column_of(name, files.type_of(type_)[0])
        return columns

    def _text_names(
        self, side: Side, found: Sequence[Path], documents: frozenset[str] = frozenset()
    ) -> tuple[Sequence[Path], list[str], str, str]:
        """CSV files to read, their columns, delimiter and NULL; `documents`: those compared as JSON, too."""
        if files.format_of(side, found) == "json":
            path, names = self._json(tuple(found), documents)
            return [path], names, ",", ""
        delimiter = files.delimiter_of(side, found[0])
        names = files.header_of(found[0], delimiter)
        for path in found[1:]:
            if files.header_of(path, delimiter) != names:
                raise ConfigError(f"{path} has other columns than {found[0]}, or in another order; name them apart")
        return found, names, delimiter, side.null

    def _json(self, found: tuple[Path, ...], documents: frozenset[str]) -> tuple[Path, list[str]]:
        """JSON files as one CSV file, made again when one of them changed."""
        state = files.state_of(found)
        if (state, documents) not in self._converted:
            folder = Path(tempfile.mkdtemp(dir=self._folder.name))
            made = files.json_to_csv(found, folder, documents)
            if files.state_of(found) != state:
                raise BrokenRead(f"{found[0]}: it changed while it was read; run again")
            self._converted[state, documents] = made
        return self._converted[state, documents]

    @cached_property
    def _converted(self) -> dict[tuple[files.State, frozenset[str]], tuple[Path, list[str]]]:
        return {}

    def _queried(self, binding: Binding, side: BoundSide, found: Sequence[Path]) -> BoundSide:
        """The side as a query, its columns in the kinds that they are compared in."""
        if files.format_of(side.side, found) == "parquet":
            return replace(side, side=self._as_query(side.side, found, {}))
        types = dict(side.side.types)
        columns = []
        pairs = list(zip(side.columns, binding.kinds, strict=True))
        if side.cut is not None and binding.cut_kind is not None:
            pairs.append((side.cut, binding.cut_kind))
        documents: frozenset[str] = frozenset()
        if files.format_of(side.side, found) == "json":
            documents = frozenset(column.name for column, kind in pairs if kind is Kind.JSON)
        for column, kind in pairs:
            wanted = column
            if column.kind is Kind.ANY and kind in _AS_KIND:
                types[column.name] = _AS_KIND[kind]
                wanted = column_of(column.name, files.type_of(types[column.name])[0])
            elif column.kind is Kind.ANY:
                read_as = Kind.JSON if kind is Kind.JSON else Kind.TEXT
                wanted = Column(name=column.name, kind=read_as, type_name="VARCHAR")
            if column.name in documents and kind is Kind.JSON:
                wanted = replace(wanted, name=files.document_of(column.name))
            columns.append(wanted)
        width, end = len(side.key), len(side.columns)
        return replace(
            side,
            side=self._as_query(side.side, found, types, documents),
            key=tuple(columns[:width]),
            values=tuple(columns[width:end]),
            cut=columns[end] if side.cut is not None else None,
        )

    def _as_query(
        self, side: Side, found: Sequence[Path], types: Mapping[str, str], documents: frozenset[str] = frozenset()
    ) -> Side:
        """The statement that reads the files; of those without types, columns as `types` say."""
        if files.format_of(side, found) == "parquet":
            query = files.parquet(found)
        else:
            read, names, delimiter, null = self._text_names(side, found, documents)
            query = files.text_rows(read, names, delimiter=delimiter, null=null, types=types)
        return side.model_copy(update={"file": None, "query": query})

    # --- reading -------------------------------------------------------------------------------------------------

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:  # noqa: ARG002
        return Survey(
            cuts=[], work=[1.0], whole=1.0, per_segment=1.0, seekable=False, reason="files are read in one pass"
        )

    def partitions(self, binding: Binding, side: BoundSide) -> list[Value]:
        found = files.files_of(side.side)
        with self._unchanged(found):
            return super().partitions(binding, self._queried(binding, side, found))

    def greatest(self, side: BoundSide) -> Value:
        """Of a column whose type is known: without one there is no order."""
        found = files.files_of(side.side)
        with self._unchanged(found):
            return super().greatest(replace(side, side=self._as_query(side.side, found, side.side.types)))

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> Stream:
        found = files.files_of(side.side)
        state = files.state_of(found)
        queried = self._queried(binding, side, found)
        inner = super().stream(binding, queried, segment, tokens=tokens)
        assert isinstance(inner, RowStream)
        return FileStream(self, binding, queried, inner._statement, tokens=tokens, state=state, found=found)

    def differences(self, binding: Binding, segment: Part) -> Look | None:
        sides = (binding.source, binding.target)
        if any(a.kind is not b.kind for a, b in zip(*(side.columns for side in sides), strict=True)):
            return None  # texts and types: understood where rows are compared side by side
        found = [files.files_of(side.side) for side in sides]
        every = [*found[0], *found[1]]
        with self._unchanged(every):
            source, target = (self._queried(binding, side, of) for side, of in zip(sides, found, strict=True))
            return super().differences(replace(binding, source=source, target=target), segment)

    def translate(self, error: SQLAlchemyError) -> TrueupError:
        known = super().translate(error)
        original = str(getattr(error, "orig", error))
        if files.OR_LESS in original:  # whichever rows are asked for: DuckDB converts all of them first
            return DesignProblem(str(known))
        if line := _LINE.search(original):
            reason = next((words for words in _CSV_REASONS if words in original), "it is not as the header says")
            if width := _WIDTH.search(original):
                reason = f"columns: {width[1]}, values in it: {width[2]}"
            return BrokenRead(f"{_named(original) or self.where}: line {line[1]} is broken: {reason}")
        if "state machine" in original:
            return BrokenRead(f"{self.where}: it is not CSV throughout, or mixes line ends (\\n and \\r\\n)")
        if isinstance(getattr(error, "orig", None), duckdb.IOException) or "file" in original.partition("\n")[0]:
            return BrokenRead(original.partition("\n")[0])
        return known


#: What DuckDB says is wrong with a line, without the line.
_CSV_REASONS = (
    "Value with unterminated quote found",
    "Invalid unicode",
    "Maximum line size",
)
_WIDTH = re.compile(r"^Expected Number of Columns: (\d+) Found: (\d+)$", re.MULTILINE)


def _named(words: str) -> str:
    """The file that an error of DuckDB names."""
    found = re.search(r"^\s*file = (.+)$", words, re.MULTILINE)
    return found[1] if found else ""


def _without_losses(side: Side, columns: Mapping[str, Column], lossy: Mapping[str, str]) -> dict[str, Column]:
    """Columns of a Parquet file; those of which DuckDB loses something cannot be compared, unless that is declared.

    Raises ConfigError for types that are declared of others.
    """
    for name, declared in side.types.items():
        if declared != "timestamp" or lossy.get(name) != files.INT96:
            raise ConfigError(
                f"types: Parquet files say themselves of which type {name!r} is; leave it out (only "
                f'{files.INT96} may be declared, to be compared as a "timestamp")'
            )
    found = dict(columns)
    for name in lossy.keys() - side.types.keys():
        hint = f' types = {{ {name} = "timestamp" }} compares what it reads.' if lossy[name] == files.INT96 else ""
        told = f"{lossy[name]}, of which DuckDB loses digits.{hint}"
        found[name] = replace(found[name], kind=Kind.INCOMPARABLE, type_name=told)
    return found


def _unlike(here: Mapping[str, Column], there: Mapping[str, Column]) -> str:
    for name, column in here.items():
        if name not in there:
            return f"{name!r} is in one only"
        if there[name] != column:
            return f"{name!r} is {column.type_name} and {there[name].type_name}"
    return f"{next((name for name in there if name not in here), 'the order')!r} is in one only"
