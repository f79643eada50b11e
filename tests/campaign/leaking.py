"""`trueup serve` that keeps a little at each look at the queue: memory, and an open file.

The control of `python -m tests.campaign.soak`: of such nodes its judge has to say so.
"""

from __future__ import annotations

import os
import sys
from io import FileIO

from trueup.cli import main
from trueup.serve import Node

#: Kept at each look, bytes: 24 MB an hour at two looks a second would be 3,300 of them; this is more, to be found soon.
KEPT = 40_000
_kept: list[tuple[bytearray, FileIO | None]] = []
_step = Node.step


def step(self: Node) -> None:
    """A look that leaves something behind."""
    file = FileIO(os.devnull) if len(_kept) % 20 == 0 and len(_kept) < 10_000 else None
    _kept.append((bytearray(os.urandom(64) * (KEPT // 64)), file))
    _step(self)


if __name__ == "__main__":
    Node.step = step  # type: ignore[method-assign]
    sys.exit(main())
