"""Files that are written for people: each is there when it is complete, and not before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trueup.errors import UsageError


@contextmanager
def replacing(path: Path, option: str = "") -> Iterator[Path]:
    """Another name to write to in the same folder; it becomes `path` if the block succeeds, else it is removed.

    A link stays one, and what it leads to is replaced; a file that was there leaves its permissions to the new one. A
    device or a pipe is written to: nothing may take its name.

    Raises UsageError where nothing can be written; `option`: how the path was given.
    """
    named = f"{option} {path}".strip()
    if path.is_dir():
        raise UsageError(f"{named}: it is a directory; name a file in it")
    if path.exists() and not path.is_file():
        yield path
        return
    place = Path(os.path.realpath(path))
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        part.touch()
        _same_permissions(place, part)
    except OSError as error:
        raise UsageError(f"{named}: {error.strerror}") from None
    try:
        yield part
        _same_permissions(place, part)  # what wrote to it may have made it anew
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _same_permissions(place: Path, part: Path) -> None:
    if place.exists():
        shutil.copymode(place, part)
