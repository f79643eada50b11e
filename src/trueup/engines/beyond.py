"""The segments of one run, read by an engine's workers: handed over, waited for, understood."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from trueup._version import __version__
from trueup.bindings import Bindings
from trueup.clock import Clock
from trueup.core.declared import THREADS
from trueup.core.plan import Segment
from trueup.engines import Workers, workers_of
from trueup.engines.task import Answer, Failed, Told, ledger_mark, read
from trueup.errors import ConfigError
from trueup.job import Reading
from trueup.side_by_side import Pair

#: Seconds between two looks at the switches, and at whether anybody is there, while an answer is waited for.
LOOK_S = 1.0


class Engines:
    """The engines of a process, each connected to when it is first needed, and once."""

    def __init__(self, default: str | Executor) -> None:
        self._default = default
        self._opened: dict[str | Executor, Workers] = {}

    def beyond(self, pair: Pair, declared: Bindings, *, ledger: str, paced: bool, clock: Clock) -> Beyond | None:
        """Who looks at a run's segments first; None: this process, as it has to be where a side is its own file.

        `ledger`: its URL. Raises ConfigError.
        """
        projection = pair.binding.projection
        engine = projection.engine or self._default
        if engine == THREADS or pair.source.capabilities.embedded or pair.target.capabilities.embedded:
            return None
        if paced and ledger.startswith("sqlite"):
            raise ConfigError(
                f"{projection.name}: the workers of an engine share the budget of a paced database through the ledger, "
                f'and other machines do not reach a file: give `ledger` as postgresql://…, or engine = "{THREADS}"'
            )
        told = Told(
            binding=pair.binding,
            definition=declared.definition(pair.name),
            conduct=declared.conduct(pair.name),
            ledger=ledger_mark(ledger) if paced else "",
        )
        return Beyond(open=partial(self._open, engine), told=told, clock=clock)

    def _open(self, engine: str | Executor) -> Workers:
        if engine not in self._opened:
            self._opened[engine] = workers_of(engine)
        return self._opened[engine]

    def close(self) -> None:
        """Give their connections back."""
        for workers in self._opened.values():
            workers.close()
        self._opened.clear()


@dataclass(frozen=True, kw_only=True, slots=True)
class Beyond:
    """Reads segments by workers. What they say is taken in the order in which it was asked for, by the caller."""

    #: Who reads; connected to when there is something to read.
    open: Callable[[], Workers]
    told: Told
    clock: Clock

    def width(self) -> int:
        return self.open().width()

    @contextmanager
    def reading(self, *, lots: bool, look: Callable[[], None]) -> Iterator[Callable[[Segment], Callable[[], Reading]]]:
        """Begins to read a segment, and gives what waits for the answer.

        `look`: called now and then while waiting; raises to end that. What was begun is then left to its end, which
        changes nothing; what was not is not begun.
        """
        workers, told = self.open(), pickle.dumps(self.told)
        handed: set[Future[Answer | Failed]] = set()

        def begin(segment: Segment) -> Callable[[], Reading]:
            asked = _Asked(workers, self.clock, workers.submit(read, __version__, told, segment, lots), look)
            handed.add(asked.future)
            asked.future.add_done_callback(handed.discard)
            return asked.answer

        try:
            yield begin
        finally:
            for future in list(handed):
                future.cancel()


class _Asked:
    """One segment that a worker reads."""

    def __init__(
        self, workers: Workers, clock: Clock, future: Future[Answer | Failed], look: Callable[[], None]
    ) -> None:
        self.future = future
        self._workers, self._clock, self._look = workers, clock, look
        #: When the answer came, by our clock; a worker's may be wrong.
        self._came: list[datetime] = []
        future.add_done_callback(lambda _: self._came.append(clock.now()))

    def answer(self) -> Reading:
        """Raises what reading raised, and Transient where the workers are lost."""
        while not wait([self.future], timeout=LOOK_S).done:
            self._look()
            self._workers.width()  # raises where nobody is left to read it
        try:
            answer = self.future.result()
        except Exception as error:
            if (meant := self._workers.understood(error)) is None:
                raise
            raise meant from error
        if isinstance(answer, Failed):
            raise answer.kind(answer.words)
        came = self._came[0] if self._came else self._clock.now()
        began = came - timedelta(seconds=answer.took_s)
        return Reading.of_all(answer.pieces, began=began, ended=came, took_s=answer.took_s)
