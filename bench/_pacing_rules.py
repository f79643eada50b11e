"""What other tools do about the load that they cause: when the next statement may begin, and how many rows it takes.

Rules only, with the time handed in: `_pacing_loads.py` runs them beside a real server, `pacing_simulated.py` in the
plant.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

#: Statements of others that run at a time beyond which the binary rules stand still (2 cores).
THRESHOLD = 3.0
#: What AIMD takes for too long, as a multiple of what its first statement took.
TOO_LONG = 2.0


class Rule:
    """When the next statement may begin, and how many rows it takes."""

    workers = 1

    def __init__(self, now: Callable[[], float]) -> None:
        """`now`: seconds, of a clock that does not jump."""
        self.now = now
        self.rows = 1000
        #: Statements of others that run, as it was last told.
        self.running = 0.0
        self.lock = threading.Lock()
        self.inflight = 0

    def may(self) -> bool:
        return True

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        """Seconds to rest after a statement."""
        return 0.0


class Unpaced(Rule):
    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.rows = 8000

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        self.rows = max(int(self.rows * min(max(0.02 / seconds, 0.5), 1.5)), 10)  # statements of 20 ms
        return 0.0


class Unpaced4(Unpaced):
    workers = 4


class Fixed(Rule):
    """1,000 rows, then 0.1 s of rest."""

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        return 0.1


class Synapse(Rule):
    """Batches of 100 ms, then 1 s of rest."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.mean_rows = self.mean_ms = 0.0

    def took(self, rows: int, seconds: float) -> float:
        self.mean_rows += 0.1 * (rows - self.mean_rows)
        self.mean_ms += 0.1 * (seconds * 1000 - self.mean_ms)
        self.rows = max(1, int(100 * self.mean_rows / self.mean_ms))
        return 1.0


class GitLab(Rule):
    """Sub-batches of 1,000 rows and 0.1 s of rest, a batch each 2 s; a hold of 10 s where the database is busy.

    All times are a sixtieth of the real ones.
    """

    workers = 2

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.size, self.left, self.began, self.hold = 4000.0, 4000, now(), 0.0
        self.efficiencies: list[float] = []

    def may(self) -> bool:
        now = self.now()
        if self.left > 0:
            return True
        if now < self.hold or now < self.began + 2:
            return False
        self.left, self.began = int(self.size), now
        return True

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002
        self.left -= rows
        if self.left <= 0:
            self.efficiencies = [(self.now() - self.began) / 2, *self.efficiencies][:20]
            weights = [0.6**at for at in range(len(self.efficiencies))]
            mean = sum(e * w for e, w in zip(self.efficiencies, weights, strict=True)) / sum(weights)
            if self.running >= THRESHOLD:
                self.hold = self.now() + 10
            elif not 0.9 <= mean <= 0.95:
                self.size = min(2e6, max(1000.0, self.size * min(0.95 / mean, 1.2)))
        return 0.1


class Ghost(Rule):
    """1,000 rows without rest, unless the database is busy."""

    def may(self) -> bool:
        return self.running < THRESHOLD


class Aimd(Rule):
    """Concurrency by additive increase and multiplicative decrease on one's own latency."""

    workers = 8

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.limit, self.timeout_s = 2, 0.0

    def may(self) -> bool:
        return self.inflight < self.limit

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        self.timeout_s = self.timeout_s or TOO_LONG * seconds
        if seconds > self.timeout_s:
            self.limit = max(1, int(self.limit * 0.9))
        elif (self.inflight + 1) * 2 >= self.limit:
            self.limit = min(self.workers, self.limit + 1)
        return 0.0


class Gradient2(Aimd):
    """Concurrency by the gradient of one's own latency against its long mean."""

    def __init__(self, now: Callable[[], float]) -> None:
        super().__init__(now)
        self.wide, self.long_s, self.window, self.until = 2.0, 0.0, list[float](), 0.0

    def took(self, rows: int, seconds: float) -> float:  # noqa: ARG002 - each rule goes by what it knows
        self.window.append(seconds)
        if self.now() > self.until and len(self.window) >= 10:
            short = sum(self.window) / len(self.window)
            self.window, self.until = [], self.now() + 1
            self.long_s = self.long_s + (2 / 601) * (short - self.long_s) if self.long_s else short
            gradient = max(0.5, min(1.0, 1.5 * self.long_s / short))
            self.wide = max(1.0, min(8.0, self.wide * 0.8 + 0.2 * (self.wide * gradient + 1)))
            self.limit = int(self.wide)
        return 0.0


RULES: dict[str, type[Rule]] = {
    "one unpaced worker": Unpaced,
    "four unpaced workers": Unpaced4,
    "fixed 1,000 rows + 0.1 s": Fixed,
    "Synapse rule": Synapse,
    "GitLab optimiser + hold": GitLab,
    "gh-ost rule": Ghost,
    "AIMD on own latency": Aimd,
    "Gradient2 on own latency": Gradient2,
}
