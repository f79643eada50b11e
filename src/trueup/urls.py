"""Database URLs as people write them: with `${NAME}` in them, and with files named from where the URL stands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

#: An environment variable in a text.
VARIABLE = re.compile(r"\$\{([^}]*)\}")
#: A URL of a database that is one file, not given from the root: the part before the file, and the file.
_RELATIVE = re.compile(r"((?:sqlite|duckdb)(?:\+\w+)?:///)(?!:memory:)([^/].*)")


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its variables replaced. Raises KeyError with the name of one that is not set."""
    return VARIABLE.sub(lambda match: environ[match[1]], text)


def relative_file(url: str) -> tuple[str, str] | None:
    """The part of a URL before its file, and the file, where that is not given from the root; None for others."""
    found = _RELATIVE.fullmatch(url)
    return (found[1], found[2]) if found else None


def from_folder(url: str, folder: Path) -> str:
    """A URL with its relative file, if it has one, seen from `folder`."""
    found = relative_file(url)
    return url if found is None else f"{found[0]}{(folder / found[1]).resolve()}"
