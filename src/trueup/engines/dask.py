"""A Dask cluster: `dask://scheduler:8786`, with TLS `dask+tls://scheduler:8786`.

The scheduler gives what a lost worker was reading to another one. Certificates are Dask's own configuration
(`DASK_DISTRIBUTED__COMM__TLS__…`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from functools import partial
from typing import Any, TypeVar

from distributed import Client
from distributed.client import ClosedClientError, FutureCancelledError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker, NoValidWorkerError

from trueup.errors import Busy, ConnectionFailed, DesignProblem, TrueupError

Result = TypeVar("Result")

#: Longest wait for the scheduler, seconds.
CONNECT_S = 10.0
#: Most segments that are handed over and not answered yet: bounds what may come back at once.
WIDTH_MAX = 256


def connect(url: str) -> DaskWorkers:
    """Raises ConnectionFailed where there is no scheduler."""
    workers = DaskWorkers(url)
    workers.open()
    return workers


class DaskWorkers:
    """The workers of one cluster."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = url.replace("dask+tls://", "tls://").replace("dask://", "tcp://")
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._executor: Executor | None = None

    def open(self) -> Client:
        """The connection; a new one where the last was lost. Raises ConnectionFailed."""
        with self._lock:
            if self._client is None or self._client.status not in ("running", "connecting"):
                try:
                    self._client = Client(self._address, timeout=CONNECT_S, set_as_default=False, name="trueup")
                except (OSError, TimeoutError, ValueError, RuntimeError) as error:
                    raise ConnectionFailed(
                        f"engine {self.url}: no Dask scheduler answers there ({error}); start it, or correct `engine`"
                    ) from error
                # Not pure: what is read now is not what was read before. Lost workers are the scheduler's business.
                self._executor = self._client.get_executor(pure=False)
            return self._client

    def width(self) -> int:
        nthreads: dict[str, int] = self._asked(lambda: self.open().nthreads())
        threads = sum(nthreads.values())
        if not threads:
            raise Busy(f"engine {self.url}: the cluster has no workers; start some, and run again to go on")
        return min(threads, WIDTH_MAX)

    def submit(self, call: Callable[..., Result], /, *args: Any) -> Future[Result]:
        self.open()
        assert self._executor is not None
        submit: Callable[[], Future[Result]] = partial(self._executor.submit, call, *args)
        return self._asked(submit)

    def _asked(self, of: Callable[[], Result]) -> Result:
        """What the scheduler says. Raises Transient where it is gone."""
        try:
            return of()
        except Exception as error:
            if (meant := self.understood(error)) is None:
                raise
            raise meant from error

    def understood(self, error: Exception) -> TrueupError | None:
        match error:
            case KilledWorker():
                return DesignProblem(
                    f"engine {self.url}: a segment was given to {error.allowed_failures + 1} workers, and each of them "
                    f"died while it read it; their logs say why (memory?). Run again to go on with this segment"
                )
            case NoValidWorkerError() | FutureCancelledError() | ClosedClientError() | CommClosedError():
                pass
            case CancelledError() | TimeoutError() | OSError():
                pass
            case _:
                return None
        return Busy(f"engine {self.url}: the cluster was lost ({type(error).__name__}: {error}); run again to go on")

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None
