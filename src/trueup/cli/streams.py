"""stdout and stderr as commands find them: closed, full, or of a terminal that does not have all letters."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from pathlib import Path


def prepare() -> None:
    """A stream that is closed swallows what is written to it, and a letter that is none there is spelt out."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            # It stays open as long as the process, so that no database gets its number.
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            with suppress(OSError):  # one that was read from as well, and cannot be sought in
                stream.reconfigure(errors="backslashreplace")


def is_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def give_up() -> None:
    """What stdout has not written yet is not tried once more as the process ends: that would change its exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
