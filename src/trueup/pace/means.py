"""What of a database is only known as a mean: statements of others that run, how long they take, how busy we are."""

from __future__ import annotations

from trueup.adapters import Looked

#: Memory of means, and of those that count as a signal, seconds.
MEAN_S, LATELY_S = 5.0, 1.5


class Means:
    """What is only known as a mean: statements of others that run, how long they take, how busy we are."""

    def __init__(self) -> None:
        self.active: float | None = None
        #: The same of the last seconds; one count alone is a matter of chance.
        self.active_lately: float | None = None
        #: Mean time of a statement of others, by Little's law; None: not known.
        self.latency_s: float | None = None
        self._rate: float | None = None
        self._before: tuple[float, float, int] | None = None
        self._at = 0.0
        self._shares: dict[str, tuple[float, float, float]] = {}

    def add(self, now: float, looked: Looked, readings: int, begun: int) -> None:
        """`readings`, `begun`: statements so far that are the governor's, and the engine's."""
        if looked.active is not None:
            self.active = _mean(self.active, looked.active, now - self._at)
            self.active_lately = _mean(self.active_lately, looked.active, (now - self._at) * MEAN_S / LATELY_S)
        self._at = now
        if looked.commits is None:
            return
        if self._before is not None and now - self._before[0] >= 2.0:
            at, commits, ours = self._before
            rate = max(looked.commits - commits - (readings + begun - ours), 0.0) / (now - at)
            self._rate = _mean(self._rate, rate, now - at)
        if self._before is None or now - self._before[0] >= 2.0:
            self._before = (now, looked.commits, readings + begun)
        if self._rate and self.active is not None:
            self.latency_s = self.active / self._rate if self._rate > 1.0 else None

    def share(self, what: str, now: float, total_s: float) -> float:
        """How much of the time lately, of a total that grows."""
        at, before, share = self._shares.get(what, (now, total_s, 0.0))
        if now > at:
            share = min(max(_mean(share, (total_s - before) / (now - at), now - at) or 0.0, 0.0), 1.0)
        self._shares[what] = (now, total_s, share)
        return share


def _mean(old: float | None, new: float, passed_s: float) -> float:
    """A mean that forgets."""
    if old is None:
        return new
    weight = min(max(passed_s, 0.0) / MEAN_S, 1.0)
    return old + weight * (new - old)
