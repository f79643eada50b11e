"""What a stream delivers is believed only with the proof of its end."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from trueup.errors import BrokenRead

if TYPE_CHECKING:
    from trueup.adapters._roles import Stream
    from trueup.core.row import Batch


def delivered(stream: Stream, what: str) -> Generator[Batch]:
    """All batches of a stream, which is closed with this generator. `what`: whose rows they are, in words.

    Raises BrokenRead if it stopped before its end. Who wants no more of it has no proof, and needs none for what came.
    """
    yield from stream
    if not stream.ended:
        raise BrokenRead(f"{what} stopped before its end, so what it delivered counts for nothing; run again")
