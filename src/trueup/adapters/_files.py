"""Files as rows: which files a side names, in which format, and the statement that reads them without guessing types.

A CSV file has no types, and a reader that guesses them from a sample cuts the zeros off `007`. So every column of it is
text; what it means is declared (`types`), or decided by the column it is compared with. Then each value is checked
before it is converted: DuckDB's own conversion rounds `1.7` to the integer 2. JSON is brought into the same form, with
its numbers spelt as they are in the file.
"""

from __future__ import annotations

import csv
import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from trueup.adapters._duckdb_values import DECIMAL_DIGITS
from trueup.core.projection import Side
from trueup.errors import BrokenRead, ConfigError

#: Ending of a file's name -> its format.
FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
}
#: Longest line of a CSV file, bytes; a longer one is an error.
LINE_MAX = 64 * 1024 * 1024
#: Moments in nanoseconds as Spark and Impala kept them, of which DuckDB reads microseconds.
INT96 = "INT96"
#: How a value that is not of its declared type is told, in part.
OR_LESS = "or would lose digits as one"
#: Files by name, with size, time of the last change and identity.
State = tuple[tuple[str, int, int, int], ...]

_FRACTION = r"([.][0-9]{1,6}0*)?"
_CLOCK = rf"[0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}{_FRACTION})?"
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
#: Type as declared -> DuckDB's type, and what a value has to look like for the conversion to keep all of it.
_TYPES = {
    "integer": ("HUGEINT", "[+-]?[0-9]+"),
    "float": ("DOUBLE", "[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity|Infinity|nan|NaN)"),
    "boolean": ("BOOLEAN", "true|false|True|False|TRUE|FALSE|t|f|1|0"),
    "uuid": ("UUID", "[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}"),
    "date": ("DATE", _DAY),
    "time": ("TIME", _CLOCK),
    "timestamp": ("TIMESTAMP", f"{_DAY}([ T]{_CLOCK})?"),
    "timestamptz": ("TIMESTAMP WITH TIME ZONE", f"{_DAY}([ T]{_CLOCK})? ?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)?"),
}
_DECIMAL = re.compile(r"decimal\(\s*(\d+)\s*,\s*(\d+)\s*\)")
TYPE_NAMES = ("text", *_TYPES, "decimal(P,S)")


def files_of(side: Side) -> list[Path]:
    """The files that a side names, by name.

    Raises ConfigError if there is none: that is no empty source.
    """
    assert side.file is not None
    pattern = _at_home(side.file)
    if Path(pattern).exists():
        found = [Path(pattern)]
    else:
        found = [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if not Path(name).is_dir()]  # noqa: PTH207
    if not found:
        what = f"no file matches {side.file!r}" if glob.has_magic(side.file) else f"there is no file {side.file}"
        if "#" in side.file:
            what += f"; a table is named behind the URL of its database, as in sqlite:///{side.file}"
        raise ConfigError(what)
    for path in found:
        if path.is_dir():
            raise ConfigError(f"{side.file} is a folder; name the files in it, like '{side.file}/*.parquet'")
        if not path.is_file():  # left out, its rows would be missing
            raise ConfigError(f"{path}: it is no file that can be read, or a link to one that is not there")
    return found


def _at_home(name: str) -> str:
    """`~` and `~user` are folders where there is such a user, and letters where there is none."""
    try:
        return str(Path(name).expanduser())
    except RuntimeError:
        return name


def state_of(files: Sequence[Path]) -> State:
    """What changes when one of the files is written or replaced.

    Raises BrokenRead if one is gone.
    """
    try:
        found = [(str(path), path.stat()) for path in files]
    except OSError as error:
        raise BrokenRead(f"{error.filename}: it cannot be read any more: {error.strerror}") from None
    return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in found)


def format_of(side: Side, files: Sequence[Path]) -> str:
    """`parquet`, `csv` or `json`.

    Raises ConfigError if the names do not tell, or tell different ones.
    """
    if side.format is not None:
        return side.format
    formats = {FORMATS.get(path.suffix.lower(), "") for path in files}
    if len(formats) != 1 or "" in formats:
        raise ConfigError(
            f'the names of {side.file} do not say one format; give format = "parquet", "csv" or "json" '
            f"(known endings: {', '.join(FORMATS)}); a database is named by its URL, as in sqlite:///file.db#table"
        )
    return formats.pop()


def delimiter_of(side: Side, path: Path) -> str:
    return side.delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")


def header_of(path: Path, delimiter: str) -> list[str]:
    """Column names of a CSV file.

    Raises BrokenRead if the file cannot be read so far, ConfigError if a name is missing or occurs twice, or if DuckDB
    cannot be told of the file.
    """
    _only(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file, delimiter=delimiter), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BrokenRead(f"{path}: cannot be read as CSV in UTF-8: {error}") from None
    if not names or "" in names:
        raise ConfigError(f"{path}: its first line has to name the columns, each of them")
    _demand_distinct(path, names)
    return names


def _demand_distinct(path: Path, names: Sequence[str]) -> None:
    """Raise ConfigError if two columns have one name; to DuckDB, who reads them, capitals are no other letters."""
    once: dict[bytes, str] = {}
    for name in names:
        folded = name.encode(errors="surrogatepass").lower()  # of bytes, only A to Z
        if folded in once:
            what = "have one name" if once[folded] == name else "have names that differ in capitals only"
            raise ConfigError(f"{path}: two columns {what}: {once[folded]}, {name}. Rename one of them in the file")
        once[folded] = name


def parquet(files: Sequence[Path]) -> str:
    """The statement that reads Parquet files."""
    return f"SELECT * FROM read_parquet({_listed(files)}, hive_partitioning = false, filename = false)"


def parquet_schema(path: Path) -> str:
    """The statement that reads what a Parquet file says of its columns, and of what is in them."""
    return f"SELECT * FROM parquet_schema({_literal(_only(path))})"


def lossy(path: Path, schema: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Columns of which DuckDB loses something without saying so, and of which type they are. `schema`: as a Parquet
    file has it, what a column consists of behind it.

    Raises ConfigError if two columns have one name to DuckDB.
    """
    found: dict[str, str] = {}
    names: list[str] = []
    left = [0]  # of what a column consists of, how much is still to come, level by level
    for element in schema[1:]:  # the first is all of it
        while left and not left[-1]:
            left.pop()
        nested = bool(left)
        if nested:
            left[-1] -= 1
        else:
            names.append(element["name"])
        left.append(element["num_children"] or 0)
        if type_ := _loses(element):
            found[names[-1]] = f"a column with {type_} in it" if nested else type_
    _demand_distinct(path, names)
    return found


def _loses(element: Mapping[str, Any]) -> str:
    """The type of a part of a Parquet file of which DuckDB loses something; empty if it loses nothing."""
    if element["type"] == INT96:
        return INT96
    digits = element["precision"] or 0
    return f"decimal({digits},{element['scale']})" if digits > DECIMAL_DIGITS else ""


def text_rows(
    files: Sequence[Path], names: Sequence[str], *, delimiter: str, null: str, types: Mapping[str, str]
) -> str:
    """The statement that reads CSV files, all columns text but those in `types`."""
    columns = ", ".join(f"{_literal(name)}: 'VARCHAR'" for name in names)
    chosen = ", ".join(f"{_converted(name, types.get(name, 'text'))} AS {_quoted(name)}" for name in names)
    return (
        f"SELECT {chosen} FROM read_csv({_listed(files)}, columns = {{{columns}}}, auto_detect = false, "
        f"header = true, delim = {_literal(delimiter)}, quote = '\"', escape = '\"', nullstr = {_literal(null)}, "
        f"allow_quoted_nulls = false, strict_mode = true, null_padding = false, ignore_errors = false, "
        f"max_line_size = {LINE_MAX}, filename = false, hive_partitioning = false)"
    )


def type_of(declared: str) -> tuple[str, str]:
    """DuckDB's type of a declared one, and the pattern of its values.

    Raises ConfigError.
    """
    name = declared.strip().lower()
    if found := _DECIMAL.fullmatch(name):
        digits, scale = int(found[1]), int(found[2])
        if not 0 < digits <= 38 or scale > digits:
            raise ConfigError(f"{declared!r} is no type: a decimal has 1 to 38 digits")
        point = f"([.][0-9]{{0,{scale}}}0*)?"
        return f"DECIMAL({digits},{scale})", f"[+-]?([0-9]+{point}|[.][0-9]{{1,{max(scale, 1)}}}0*)"
    if name not in _TYPES:
        hint = "; say how many digits: decimal(18,2)" if name in ("decimal", "numeric") else ""
        raise ConfigError(f"{declared!r} is no type of a column; known: {', '.join(TYPE_NAMES)}{hint}")
    return _TYPES[name]


def _converted(name: str, declared: str) -> str:
    column = _quoted(name)
    if declared == "text":
        return column
    type_name, pattern = type_of(declared)
    to_do = f'declare types = {{ {name} = "text" }} to compare it as it is'
    if declared == "integer":
        to_do = (
            f'declare types = {{ {name} = "boolean" }}, or "float" where whole numbers are spelt 5.0, '
            f'or "text" to compare it as it is'
        )
    problem = f"column {name!r} holds a value that is no {declared}, {OR_LESS}; {to_do}"
    fits = f"regexp_full_match({column}, {_literal(pattern)})"
    if type_name == "DOUBLE":  # which DuckDB makes infinite where it is too large, and 0 where it is too small
        number = f"TRY_CAST({column} AS DOUBLE)"
        fits += f" AND (isfinite({number}) OR regexp_full_match({column}, '[+-]?[iInN].*'))"
        fits += f" AND ({number} <> 0 OR regexp_full_match({column}, '[+-]?[0.]+([eE].*)?'))"
        # An integer is as many digits as there are, and not the float next to it.
        whole, exact = f"TRY_CAST({column} AS HUGEINT)", f"TRY_CAST({number} AS HUGEINT)"
        spelt = f"TRY_CAST(TRY_CAST({number} AS VARCHAR) AS HUGEINT)"
        fits += f" AND (NOT regexp_full_match({column}, '[+-]?[0-9]+') OR {whole} = {exact} OR {whole} = {spelt})"
    value = f"CASE WHEN {fits} THEN TRY_CAST({column} AS {type_name}) END"  # NULL too for February 30
    return f"CASE WHEN {column} IS NOT NULL THEN coalesce({value}, error({_literal(problem)})) END"


def _listed(files: Sequence[Path]) -> str:
    return "[" + ", ".join(_literal(_only(path)) for path in files) + "]"


def _only(path: Path) -> str:
    """This file as a pattern, as which DuckDB reads every name: to it `a[1].csv` is `a1.csv`, where that is there.

    It takes `~` for the home folder where a name begins with it. Behind a backslash no letter makes a pattern; in a
    pattern every backslash is a slash. Raises ConfigError for a name that so cannot be said.
    """
    name = f"./{path}" if str(path).startswith("~") else str(path)
    if not re.search(r"[*?[]", re.sub(r"\\.", "", name, flags=re.DOTALL)):
        return name
    if "\\" in name:
        raise ConfigError(f"{path}: a name with a backslash and one of * ? [ cannot be read. Rename the file or folder")
    return re.sub(r"[*?[]", r"[\g<0>]", name)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# --- JSON ------------------------------------------------------------------------------------------------------------


class _Number(str):
    """A number as the file spells it."""

    __slots__ = ()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has two members of one name")
    return found


_DECODER = json.JSONDecoder(parse_int=_Number, parse_float=_Number, object_pairs_hook=_object)


def json_to_csv(files: Sequence[Path], folder: Path, documents: frozenset[str]) -> tuple[Path, list[str]]:
    """Rows of JSON files as one CSV file in `folder`, and its columns: every name that occurs.

    They hold texts, which keys and partitions are. Those of `documents` are there once more, as `document_of` names
    them: as JSON, so that the text "1" is told from the number 1.
    Raises BrokenRead if a file is not JSON to its end.
    """
    names: dict[str, None] = {}
    for row in _json_rows(files):
        names.update(dict.fromkeys(row))
    if not names:
        raise ConfigError(f"{files[0]}: there is no object in it, so its columns are not known")
    known = [name for name in names if name in documents]
    columns = [*names, *map(document_of, known)]
    _demand_distinct(files[0], columns)
    path = folder / "rows.csv"
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(",".join(_cell(name) for name in columns) + "\n")
            for row in _json_rows(files):
                texts = [_text(row.get(name)) for name in names]
                texts += [_document(row.get(name)) for name in known]
                file.write(",".join(map(_cell, texts)) + "\n")
    except RecursionError:
        raise BrokenRead(f"{files[0]}: it has JSON that is nested too deeply") from None
    except UnicodeEncodeError:
        raise BrokenRead(f"{files[0]}: it has a text with half a character in it (\\ud800 to \\udfff)") from None
    return path, columns


def document_of(name: str) -> str:
    """The column that holds the members of a name as JSON."""
    return f"{name} (as JSON)"


def _json_rows(files: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Objects of JSON lines, or of one array a file."""
    for path in files:
        try:
            with path.open(encoding="utf-8-sig") as file:
                first = file.read(1)
                while first.isspace():
                    first = file.read(1)
                file.seek(0)
                rows = _array(file.read()) if first == "[" else _lines(file)
                for at, row in enumerate(rows, start=1):
                    if not isinstance(row, dict):
                        raise ValueError(f"row {at} is no object")
                    yield row
        except RecursionError:
            raise BrokenRead(f"{path}: it has JSON that is nested too deeply") from None
        except (OSError, ValueError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
            raise BrokenRead(f"{path}: cannot be read as JSON to its end: {error}") from None


def _array(text: str) -> Iterator[Any]:
    yield from _DECODER.decode(text.removeprefix("\ufeff"))


def _lines(lines: Iterator[str]) -> Iterator[Any]:
    for at, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _DECODER.decode(line.removeprefix("\ufeff"))
            except json.JSONDecodeError as error:
                raise ValueError(f"line {at}, column {error.colno}: {error.msg}") from None


def _text(value: Any) -> str | None:
    """A member as text; what has parts stays JSON."""
    match value:
        case None | _Number():
            return value
        case str():
            return value
        case bool():
            return "true" if value else "false"
    return _nested(value)


def _document(value: Any) -> str | None:
    return None if value is None else _nested(value)


def _nested(value: Any) -> str:
    match value:
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{_nested(part)}" for name, part in value.items()) + "}"
        case list():
            return "[" + ",".join(map(_nested, value)) + "]"
        case _Number():
            return str(value)
    return json.dumps(value)


def _cell(text: str | None) -> str:
    """A CSV cell: NULL is the one that is empty and not quoted."""
    return "" if text is None else '"' + text.replace('"', '""') + '"'
