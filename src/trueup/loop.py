"""An event loop for drivers that have no other way, turned by the thread that asks: nothing goes on in between."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

Result = TypeVar("Result")
#: Longest wait for an answer, seconds.
ANSWER_S = 10.0


class Loop:
    """One event loop, and what is asked of it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()

    def run(self, work: Coroutine[Any, Any, Result], within_s: float = ANSWER_S) -> Result:
        """Turn the loop until `work` is done. Raises TimeoutError, and what `work` raises."""
        return self.loop.run_until_complete(asyncio.wait_for(work, within_s))

    def close(self) -> None:
        """End whatever is left in it."""
        left = asyncio.all_tasks(self.loop)
        for task in left:
            task.cancel()
        with suppress(Exception):
            self.loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
