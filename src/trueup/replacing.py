"""Files that are written for people: each is there when it is complete, and not before."""

from __future__ import annotations

import errno
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
    if _is_descriptor(path):
        raise UsageError(f"{named}: it is a file that is open, and would lose what it has; name another")
    if path.exists() and not path.is_file():
        if not os.access(path, os.W_OK):
            raise UsageError(f"{named}: {os.strerror(errno.EACCES)}")
        yield path
        return
    place = Path(os.path.realpath(path))
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    there = place.exists()
    try:
        part.touch(0o600 if there else 0o666)
    except OSError as error:
        raise UsageError(f"{named}: {error.strerror}") from None
    try:
        yield part
        if there:
            shutil.copymode(place, part)
        part.replace(place)
    finally:
        part.unlink(missing_ok=True)


def _is_descriptor(path: Path) -> bool:
    """Does it lead to a file that a process has open, as `/dev/stdout` does where that goes to a file?"""
    while path.is_symlink():
        folder = Path(os.path.realpath(path.parent))
        if folder.match("/proc/*/fd"):
            return path.is_file()
        path = folder / path.readlink()
    return False
