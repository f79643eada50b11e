"""Files that say what is to be made of the rows of a table: `FILE.py` with a function, `FILE.sql` with an UPDATE."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import tomllib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trueup.core.backfill import Backfill, Given, backfill
from trueup.core.binding import near
from trueup.core.fixes import Fix, all_at_once, row_by_row
from trueup.core.query import problem
from trueup.core.update import columns_in, update_of
from trueup.declarations import checked
from trueup.errors import ConfigError

#: What a Python file is read for.
DECLARED, ONE, MANY = "backfill", "fix", "fix_batch"


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A file, understood."""

    path: Path
    declared: Backfill
    #: None: its SQL says what rows become.
    fix: Fix | None
    #: Columns that the file names; others are found in its SQL.
    given: tuple[str, ...]


def load(path: Path, databases: Collection[str], dialect: Callable[[str], str]) -> Loaded:
    """Read a file. `dialect`: of a declared database, as SQLGlot calls it. Raises ConfigError, naming the place."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    code = hashlib.sha256(content).hexdigest()
    if path.suffix == ".sql":
        return _sql(path, _text(path, content), code, databases, dialect)
    if path.suffix != ".py":
        raise ConfigError(f"{path}: a backfill is a FILE.py with a function, or a FILE.sql with an UPDATE")
    names = _executed(path)
    told = names.get(DECLARED)
    if not isinstance(told, dict):
        raise ConfigError(f'{path}: say what it is about: {DECLARED} = {{"table": …, "key": …, "writes": …}}')
    given = _given(path, told, databases)
    functions = {name: names[name] for name in (ONE, MANY) if callable(names.get(name))}
    if len(functions) != 1:
        raise ConfigError(f"{path}: define one function, `{ONE}(row)` or `{MANY}(rows)`")
    if not given.writes:
        raise ConfigError(f"{path}: {DECLARED}.writes: name the columns that are written")
    fix = row_by_row(functions[ONE]) if ONE in functions else all_at_once(functions[MANY])
    used = _select(path, given, dialect)
    return Loaded(path=path, declared=backfill(given, code=code, also=used), fix=fix, given=given.reads)


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}") from None


def _sql(path: Path, text: str, code: str, databases: Collection[str], dialect: Callable[[str], str]) -> Loaded:
    """A header of TOML in comment lines, then one UPDATE."""
    lines = text.splitlines()
    ends = next((at for at, line in enumerate(lines) if line.strip() and not line.startswith("--")), len(lines))
    header = "\n".join(line.removeprefix("--").removeprefix(" ") for line in lines[:ends])
    try:
        told = tomllib.loads(header)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f'{path}: the comment lines before the UPDATE are TOML, as `-- key = "id"`: {error}'
        ) from None
    for name in ("table", "writes", "select"):
        if name in told:
            raise ConfigError(f"{path}: {name!r} is said by the UPDATE; leave it out of the header")
    given = _given(path, {**told, "table": "-"}, databases)
    spelt = dialect(given.database)
    try:
        update = update_of("\n".join(lines[ends:]), spelt)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from None
    whole = {"table": update.table, "writes": tuple(update.sets), "select": update.where}
    given = _given(path, {**told, **whole}, databases)
    used = [*columns_in(list(update.sets.values()), spelt), *_select(path, given, dialect)]
    return Loaded(
        path=path, declared=backfill(given, code=code, sets=update.sets, also=used), fix=None, given=given.reads
    )


def _given(path: Path, told: dict[str, Any], databases: Collection[str]) -> Given:
    given = checked(Given, {"name": path.stem, **told}, f"{path}: {DECLARED}")
    known = sorted(databases)
    database = given.database or (known[0] if len(known) == 1 else "")
    if database not in databases:
        raise ConfigError(f"{path}: {DECLARED}.database: name a declared database; {near(database, known)}")
    if not given.table:
        raise ConfigError(f"{path}: {DECLARED}.table: is missing")
    return given.model_copy(update={"database": database})


def _select(path: Path, given: Given, dialect: Callable[[str], str]) -> list[str]:
    """Columns that the predicate uses. Raises ConfigError where it is more than a predicate."""
    if not given.select:
        return []
    spelt = dialect(given.database)
    if found := problem(f"SELECT * FROM {given.table} WHERE ({given.select})", spelt):
        raise ConfigError(f"{path}: {DECLARED}.select: {found}")
    return columns_in([given.select], spelt)


def _executed(path: Path) -> dict[str, Any]:
    """The names that a Python file defines. Its folder can be imported from, as when it is run as a script."""
    folder = str(path.resolve().parent)
    spec = importlib.util.spec_from_file_location(f"trueup_backfill_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(folder)
    return vars(module)
