"""`trueup diff --save NAME`: the comparison as a projection in the configuration file, without its passwords."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueup.cli.init import seen_from
from trueup.errors import ConfigError, UsageError
from trueup.sides import NamedSide, relative_to, without_password
from trueup.urls import VARIABLE, from_folder, with_variables

if TYPE_CHECKING:
    from trueup.comparison import Comparison

WRITERS = '# writers = "same_transaction"    # how your application writes the target; `trueup run` needs it'
EXTRA = '# on_extra = "delete"    # rows that only the target has; left out, `trueup run` leaves them and says so'
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Saving:
    """What is to be appended, and where."""

    name: str
    path: Path
    text: str
    #: Variables that have to be set for it, and to what.
    variables: Mapping[str, str]

    def write(self) -> str:
        """Append it; what to do next."""
        append(self.path, self.text)
        hints = [f"set {name} to {what}" for name, what in self.variables.items()]
        return f"trueup: saved as {self.name} in {self.path}" + "".join(f"; {hint}" for hint in hints)


def prepare(name: str, comparison: Comparison, path: Path) -> Saving:
    """The text to append, checked: the name is free, the file can be read, and nothing in it is secret.

    Raises UsageError.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"--save {name!r}: a name is made of letters, digits, _ and -")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise UsageError(f"--save {name}: {path} cannot be written; name another place with --config")
    declared = declared_in(path)
    if name in declared.get("projections", {}):
        raise UsageError(f"--save {name}: {path} has a projection of this name already; choose another")
    named = {"source": comparison.source, "target": comparison.target}
    databases = Databases(path=path, known=dict(declared.get("databases", {})))
    together = comparison.source.url == comparison.target.url
    sides = {}
    for role, side in named.items():
        database = databases.name(side, name if together else f"{name}_{role}") if side.url else None
        sides[role] = _side(role, side, database, path, comparison)
    text = "\n".join([*databases.lines, *_projection(name, sides, comparison)]) + "\n"
    return Saving(name=name, path=path, text=text, variables=databases.variables)


def declared_in(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"--save: {path} cannot be appended to: {error}") from None


def append(path: Path, what: str) -> None:
    """Write behind what is there, with a blank line between. Raises UsageError if that cannot be."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(gap + what)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


@dataclass(kw_only=True, slots=True)
class Databases:
    """The databases that the file declares, and those to be added."""

    path: Path
    known: dict[str, Any]
    #: URL -> name of what was added.
    added: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    #: Variables that have to be set, and to what.
    variables: dict[str, str] = field(default_factory=dict)

    def name(self, side: NamedSide, wanted: str) -> str:
        """The side's database by its name in the file; declared anew where it is not there yet."""
        for name, values in self.known.items():
            if _same(values.get("url", ""), side.url, self.path):
                return name
        if side.url not in self.added:
            self.added[side.url] = self._declare(side, wanted)
        return self.added[side.url]

    def _declare(self, side: NamedSide, wanted: str) -> str:
        taken = {*self.known, *self.added.values()}
        names = [wanted, *(f"{wanted}{number}" for number in range(2, len(taken) + 3))]
        name = next(name for name in names if name not in taken)
        url, variables = with_variables(side.written, name)
        exports = " ".join(f"{variable}=..." for variable in variables)
        hint = f"    # secrets are not kept here: export {exports}" if variables else ""
        for variable in variables:
            what = "password" if variable.endswith("_PASSWORD") else "secret"
            self.variables[variable] = f"the {what} of {without_password(side.url)}, as it was typed"
        self.lines += [f"[databases.{name}]", f"url = {quoted(seen_from(self.path, url))}{hint}", ""]
        return name


def _same(declared: object, url: str, path: Path) -> bool:
    """Is the URL of a declared database the one that was named?"""
    if not isinstance(declared, str):
        return False
    expanded = VARIABLE.sub(lambda match: os.environ.get(match[1], match[0]), declared)
    return from_folder(expanded, path.parent) == from_folder(url, Path())


def _side(role: str, side: NamedSide, database: str | None, path: Path, comparison: Comparison) -> str:
    """A side as an inline table."""
    ((place, what),) = side.place.items()
    if VARIABLE.search(what):
        raise UsageError(f"--save: ${{...}} in the {role}'s {place} would be read as a variable in {path}")
    if place == "file":
        what = relative_to(path.parent, what)
    parts = [f"database = {quoted(database)}"] if database else []
    parts.append(f"{place} = {quoted(what)}")
    parts += [f"{name} = {_value(value)}" for name, value in side.settings.items()]
    renamed = getattr(comparison.projection, role).columns
    if renamed:
        parts.append(f"columns = {_value(renamed)}")
    return f"{{ {', '.join(parts)} }}"


def _projection(name: str, sides: Mapping[str, str], comparison: Comparison) -> list[str]:
    declared = comparison.projection
    lines = [
        f"# What `trueup diff` compared; `trueup check {name}` does it again.",
        f"[projections.{name}]",
        f"source = {sides['source']}",
        f"target = {sides['target']}",
        f"key = {quoted_list(declared.key)}",
    ]
    if declared.columns:
        lines.append(f"columns = {quoted_list(declared.columns)}")
    if declared.sensitive:
        lines.append(f"sensitive = {quoted_list(declared.sensitive)}")
    if declared.tolerance:
        lines.append(f"tolerance = {_value(declared.tolerance)}")
    if declared.nulls:
        lines.append(f"nulls = {_value(declared.nulls)}")
    if declared.exact:
        lines.append("exact = true")
    settle = f'settle = "{declared.settle:g}s"' if declared.settle else '# settle = "10s"'
    return [
        *lines,
        f"{settle}    # what differs counts once it is the same this long after",
        *((WRITERS, EXTRA) if declared.target.table or declared.target.pattern or declared.target.index else ()),
    ]


def _value(value: Any) -> str:
    """A text, or a table of texts."""
    if not isinstance(value, Mapping):
        return quoted(value)
    return f"{{ {', '.join(f'{quoted(here)} = {quoted(there)}' for here, there in value.items())} }}"


def quoted_list(names: tuple[str, ...]) -> str:
    return f"[{', '.join(quoted(name) for name in names)}]"


def quoted(value: str) -> str:
    """A TOML string: JSON's escapes are TOML's, but for one character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
