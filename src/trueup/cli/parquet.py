"""Differences as a Parquet file, written by DuckDB. Types are kept; where one cannot hold a value, it stays text.

What a column needs is known when its last value was seen. So the rows are set down as text first and read back with the
types that hold all of them.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trueup.cli.output import as_text, csv_line, flat_row, header
from trueup.core.row import Kind
from trueup.errors import UsageError
from trueup.replacing import replacing

if TYPE_CHECKING:
    from trueup.comparison import Difference
    from trueup.core.binding import Binding

#: Most digits of a DECIMAL, and the bits of a BIGINT beside its sign.
DIGITS_MAX = 38
BIGINT_BITS = 63
#: Bytes of one difference at most.
LINE_MAX = 256 * 2**20

#: Kind of a column -> its type in the file, if all values fit.
_TYPES = {
    Kind.INTEGER: "BIGINT",
    Kind.DECIMAL: "DECIMAL",
    Kind.FLOAT: "DOUBLE",
    Kind.BOOLEAN: "BOOLEAN",
    Kind.BYTES: "BLOB",
    Kind.UUID: "UUID",
    Kind.DATE: "DATE",
    Kind.TIME: "TIME",
    Kind.TIMESTAMP: "TIMESTAMP",
    Kind.INSTANT: "TIMESTAMPTZ",
}
#: A type -> what else it holds without loss.
_HOLDS = {"DECIMAL": {"BIGINT", "DECIMAL"}}
_NUMBERS = {"BIGINT", "DECIMAL"}


def driver() -> Any:
    """DuckDB.

    Raises UsageError if it is not installed.
    """
    try:
        return importlib.import_module("duckdb")
    except ModuleNotFoundError:
        raise UsageError(
            "--format parquet is written by DuckDB, which is not installed; pip install 'trueup[duckdb]'"
        ) from None


def write(differences: Iterable[Difference], binding: Binding, path: Path) -> int:
    """Write `differences` to `path`, which is there when it is complete; how many there were.

    Raises UsageError if DuckDB is not installed, or the file cannot be written.
    """
    columns = _columns(binding)
    written = 0
    with replacing(path, "--output") as part, tempfile.TemporaryDirectory(prefix="trueup-parquet-") as folder:
        spool = Path(folder) / "rows.csv"
        with spool.open("w", encoding="utf-8", newline="") as file:
            for written, found in enumerate(differences, 1):  # noqa: B007
                row = [column.see(value) for column, value in zip(columns, flat_row(found), strict=True)]
                file.write(csv_line(row) + "\n")
        with driver().connect(":memory:") as connection:
            connection.execute(_statement(header(binding), columns), [str(spool), str(part)])
    return written


@dataclass(kw_only=True, slots=True)
class _Column:
    """One column of the comparison: the same type for what is expected and what was observed."""

    #: None: text.
    kind: Kind | None
    seen: set[str] = field(default_factory=set)
    #: Most digits before and after the point.
    whole: int = 1
    fraction: int = 0

    def see(self, value: Any) -> str | None:
        """The value as text, and its type noted."""
        if value is None:
            return None
        value = self._meant(value)
        self.seen.add(self._type_of(value))
        return as_text(value)

    def _meant(self, value: Any) -> Any:
        """Databases without booleans hold 0 and 1; NaN is a text to comparing, which has to find it equal."""
        if isinstance(value, bool) and self.kind in (Kind.INTEGER, Kind.DECIMAL):
            return int(value)
        if self.kind is Kind.BOOLEAN and value in (0, 1):
            return bool(value)
        return float("nan") if self.kind is Kind.FLOAT and value == "nan" else value

    def _type_of(self, value: Any) -> str:
        match value:
            case bool():
                return "BOOLEAN"
            case int() | Decimal():
                return self._number(Decimal(value))
            case float():
                return "DOUBLE"
            case bytes():
                return "BLOB"
            case UUID():
                return "UUID"
            case datetime():
                return "TIMESTAMP" if value.tzinfo is None else "TIMESTAMPTZ"
            case date():
                return "DATE"
            case time() if value.tzinfo is None:
                return "TIME"
        return "VARCHAR"

    def _number(self, value: Decimal) -> str:
        if not value.is_finite():
            return "VARCHAR"
        exponent = int(value.as_tuple().exponent)
        self.whole = max(self.whole, value.adjusted() + 1)
        self.fraction = max(self.fraction, -exponent)
        small = exponent >= 0 and -(2**BIGINT_BITS) <= value < 2**BIGINT_BITS
        return "BIGINT" if small else "DECIMAL"

    @property
    def type(self) -> str:
        """The type that holds everything that was seen, exactly."""
        wanted = _TYPES.get(self.kind, "VARCHAR") if self.kind else "VARCHAR"
        if self.kind is Kind.ANY:
            wanted = "DECIMAL" if self.seen == _NUMBERS else next(iter(self.seen)) if len(self.seen) == 1 else "VARCHAR"
        if wanted == "BIGINT" and self.seen <= _NUMBERS and "DECIMAL" in self.seen:
            wanted = "DECIMAL"
        if not self.seen <= _HOLDS.get(wanted, {wanted}):
            return "VARCHAR"
        if wanted != "DECIMAL":
            return wanted
        return f"DECIMAL({DIGITS_MAX}, {self.fraction})" if self.whole + self.fraction <= DIGITS_MAX else "VARCHAR"


def _columns(binding: Binding) -> list[_Column]:
    """A column for each name of `header`."""
    both = [column for kind in binding.value_kinds for column in [_Column(kind=kind)] * 2]
    keys = [_Column(kind=kind) for kind in binding.key_kinds]
    return [_Column(kind=None), _Column(kind=None), *keys, *both, _Column(kind=None)]


def _statement(names: Sequence[str], columns: Sequence[_Column]) -> str:
    """Read the text back, typed, and write the file."""
    texts = ", ".join(f"'c{at}': 'VARCHAR'" for at in range(len(columns)))
    typed = ", ".join(
        f"{_typed(f'c{at}', column.type)} AS {_quoted(name)}"
        for at, (name, column) in enumerate(zip(names, columns, strict=True))
    )
    return (
        f"COPY (SELECT {typed} FROM read_csv($1, columns = {{{texts}}}, header = false, auto_detect = false, "
        f"delim = ',', quote = '\"', escape = '\"', nullstr = '', allow_quoted_nulls = false, "
        f"max_line_size = {LINE_MAX})) TO $2 (FORMAT parquet)"
    )


def _typed(name: str, sql_type: str) -> str:
    return f"unhex(substr({name}, 3))" if sql_type == "BLOB" else f"CAST({name} AS {sql_type})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
