"""Where segments are read: by this process, or by the workers of an executor that may be on other machines.

One file is one URL scheme, found by name and imported on demand. All that is asked of it is a
`concurrent.futures.Executor`, how many segments it wants at a time, and what its failures mean. Only reading goes
there: a worker that dies costs what it was reading, and nothing that it did has to be undone.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from typing import Any, Protocol, TypeVar

from trueup.core.declared import THREADS
from trueup.errors import Busy, ConfigError, TrueupError

Result = TypeVar("Result")


class Workers(Protocol):
    """Who reads segments for this process."""

    def width(self) -> int:
        """Segments that are read at a time. Raises Transient where nobody is there to read one."""

    def submit(self, call: Callable[..., Result], /, *args: Any) -> Future[Result]:
        """Let a worker call this. Raises Transient."""

    def understood(self, error: Exception) -> TrueupError | None:
        """What a failure of the engine means to a run; None: it is none of the engine's."""

    def close(self) -> None:
        """Give the connection back."""


class Given:
    """An executor of the caller's; it stays open."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def width(self) -> int:
        return os.cpu_count() or 2

    def submit(self, call: Callable[..., Result], /, *args: Any) -> Future[Result]:
        return self._executor.submit(call, *args)

    def understood(self, error: Exception) -> TrueupError | None:
        if isinstance(error, BrokenExecutor | CancelledError):
            return Busy(f"the executor that segments are read on ended ({type(error).__name__}); run again to go on")
        return None

    def close(self) -> None: ...


def workers_of(engine: str | Executor) -> Workers:
    """Who reads segments, as declared. Connects.

    Raises ConfigError for a scheme without an engine or a library that is not installed, ConnectionFailed.
    """
    if isinstance(engine, Executor):
        return Given(engine)
    name = engine.partition("://")[0].partition("+")[0]
    if not name.isidentifier() or importlib.util.find_spec(f"{__name__}.{name}") is None:
        raise ConfigError(f"engine: there is no engine {name!r}; give {THREADS!r}, or 'dask://host:port'")
    try:
        workers: Workers = importlib.import_module(f"{__name__}.{name}").connect(engine)
    except ModuleNotFoundError as missing:
        raise ConfigError(
            f"engine: the library {missing.name!r} is not installed; pip install 'trueup[{name}]'"
        ) from missing
    return workers
