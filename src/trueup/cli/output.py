"""Differences as lines: JSON lines and CSV. They are written as they come; a file gets its name when it is complete."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from json.encoder import encode_basestring
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from trueup.core.row import JSON_SAFE_INTEGER, present
from trueup.core.values import Json
from trueup.errors import UsageError
from trueup.replacing import replacing

if TYPE_CHECKING:
    from trueup.comparison import Comparison, Difference
    from trueup.core.binding import Binding

#: Format -> endings of files that are taken to be it.
FORMATS = {
    "table": (".txt",),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv",),
    "parquet": (".parquet", ".pq"),
}

#: Bytes that are written at once where nobody looks on: each write lets the other threads in, and waits for its turn.
_BUFFER = 2**18
#: Values whose text may hold commas, quotes and line ends.
_QUOTED = (str, Json, tuple)


def format_of(given: str | None, output: Path | None) -> str:
    """The format that was asked for, or the one that the file's name ends with.

    Raises UsageError.
    """
    if given is None and output is not None:
        found = [name for name, endings in FORMATS.items() if output.suffix.lower() in endings]
        if not found:
            raise UsageError(f"--output {output}: its name does not say the format; add --format {'|'.join(FORMATS)}")
        return found[0]
    if given == "parquet" and output is None:
        raise UsageError("--format parquet is not text: name a file with --output FILE")
    return given or "table"


def write_lines(form: str, differences: Iterable[Difference], comparison: Comparison, out: TextIO) -> int:
    """Write `differences` in a format of lines; how many there were."""
    written = 0
    lines = _FORMS[form](differences, comparison)
    for written, line in enumerate(lines, 0 if form == "csv" else 1):  # noqa: B007 - the header of a CSV is no row
        out.write(line + "\n")
    return written


@contextmanager
def text_file(path: Path) -> Iterator[TextIO]:
    """A text file that is there when it is complete, and not before."""
    with replacing(path, "--output") as part, part.open("w", _BUFFER, encoding="utf-8", newline="") as file:
        yield file


@contextmanager
def stdout() -> Iterator[TextIO]:
    """stdout as UTF-8, whatever the terminal's settings: what is written is read by programs."""
    number = _file_number(sys.stdout)
    at_once = getattr(sys.stdout, "write_through", False)  # `python -u`: who reads does not want to wait
    if number is None or at_once or sys.stdout.isatty():
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(encoding="utf-8")
        yield sys.stdout
        sys.stdout.flush()
        return
    sys.stdout.flush()
    with open(number, "w", _BUFFER, encoding="utf-8", closefd=False) as out:
        yield out


def _file_number(out: TextIO) -> int | None:
    """None: it is no file, nor a pipe."""
    try:
        return out.fileno()
    except (AttributeError, OSError):
        return None


# --- rows ------------------------------------------------------------------------------------------------------------


def header(binding: Binding) -> list[str]:
    """Column names of a row: they can never meet, whatever the two sides call theirs."""
    both = [f"{side}_{name}" for name in binding.columns for side in ("expected", "observed")]
    return ["kind", "columns", *(f"key_{name}" for name in binding.projection.key), *both, "reason"]


def flat_row(found: Difference) -> list[Any]:
    """One difference as the values under `header`; a row that is not there is all NULL."""
    nothing = (None,) * max(len(found.expected or ()), len(found.observed or ()))
    pairs = zip(found.expected or nothing, found.observed or nothing, strict=True)
    both = [value for pair in pairs for value in pair]
    return [found.kind, ",".join(found.columns) or None, *found.key, *both, found.reason or None]


class _Spelled(dict[type, Callable[[Any], str]]):
    """Type -> a value of it as JSON: as `present` shows it. What is not named here takes several times as long."""

    def __missing__(self, type_: type) -> Callable[[Any], str]:
        return lambda value: _JSON(present(value))


_JSON = json.JSONEncoder(ensure_ascii=False).encode
_JSON_OF = _Spelled(
    {
        type(None): {None: "null"}.__getitem__,
        bool: {False: "false", True: "true"}.__getitem__,
        int: lambda value: str(value) if abs(value) <= JSON_SAFE_INTEGER else f'"{value}"',
        str: encode_basestring,
        Decimal: lambda value: f'"{value:f}"' if value.is_finite() else f'"{value}"',
        datetime: lambda value: f'"{value.isoformat(" ")}"',
    }
)


def _json_lines(differences: Iterable[Difference], comparison: Comparison) -> Iterator[str]:
    """Of each what `Comparison.row` gives, as JSON."""
    key, names = _template(comparison.projection.key), _template(comparison.binding.columns)
    spelled, templates = _JSON_OF, dict[tuple[str, bool, bool], str]()
    for found in differences:
        expected, observed = found.expected, found.observed
        about = found.kind, expected is None, observed is None
        if (template := templates.get(about)) is None:
            one, other = ("null" if values is None else names for values in (expected, observed))
            template = templates[about] = (
                f'{{"kind": "{found.kind}", "key": {key}, "expected": {one}, "observed": {other}, "columns": %s%s}}'
            )
        reason = f', "reason": {_JSON(found.reason)}' if found.reason else ""
        values = found.key + (expected or ()) + (observed or ())
        yield template % (*[spelled[type(value)](value) for value in values], _list(found.columns), reason)


@lru_cache(maxsize=1024)
def _list(names: tuple[str, ...]) -> str:
    return _JSON(list(names))


def _template(names: Sequence[str]) -> str:
    """An object of JSON with these names, and places for their values."""
    return "{" + ", ".join(_JSON(name).replace("%", "%%") + ": %s" for name in names) + "}"


def _csv(differences: Iterable[Difference], comparison: Comparison) -> Iterator[str]:
    yield csv_line(header(comparison.binding))
    for found in differences:
        yield csv_line(flat_row(found))


def csv_line(values: Sequence[Any]) -> str:
    """Text in quotes, NULL as nothing at all: so '' and NULL stay apart, as PostgreSQL and DuckDB read it."""
    return ",".join(_csv_value(value) for value in values)


def _csv_value(value: Any) -> str:
    if value is None:
        return ""
    shown = as_text(value)
    return '"' + shown.replace('"', '""') + '"' if isinstance(value, _QUOTED) else shown


def as_text(value: Any) -> str:
    """A value that is not NULL as the text of a flat file; an array as JSON."""
    shown = present(value)
    if isinstance(shown, bool):
        return "true" if shown else "false"
    if isinstance(shown, list):
        return json.dumps(shown, ensure_ascii=False)
    return repr(shown) if isinstance(shown, float) else str(shown)


_FORMS: dict[str, Callable[[Iterable[Difference], Comparison], Iterator[str]]] = {"jsonl": _json_lines, "csv": _csv}
