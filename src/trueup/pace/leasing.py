"""What a process may use of a database's budget, and whether it is the one that looks: a lease, which it renews."""

from __future__ import annotations

from trueup.clock import Clock
from trueup.core.pace.sharing import GRANT_S, USED, Demand
from trueup.store.paces import Paces, Renewed, Report


class Lease:
    """One node's. What was granted ends by itself where it is not renewed."""

    def __init__(self, paces: Paces, database: str, node: str, clock: Clock) -> None:
        self._paces, self._database, self._node, self._clock = paces, database, node, clock
        #: Does this node look and decide?
        self.leads = False
        #: What was granted, of what all may use together, and until when, by a clock that only goes forward.
        self.u = self.total = 0.0
        self.until = clock.monotonic()

    def renew(self, wants: float, weight: float, report: Report) -> Renewed:
        """Ask the ledger. Raises LedgerFailed: what was granted is used up to its end then."""
        asked_at = self._clock.monotonic()  # and the ledger may take long
        renewed = self._paces.renew(self._database, Demand(who=self._node, wants=wants, weight=weight), report)
        self.leads, self.u, self.total = renewed.leads, renewed.u, renewed.total
        self.until = asked_at + GRANT_S * USED
        return renewed

    def holds(self, now: float) -> float:
        """What may be in flight."""
        return self.u if now < self.until else 0.0

    def end(self) -> None:
        """Others may have it. Raises LedgerFailed: then it ends by itself."""
        self.leads, self.u = False, 0.0
        self._paces.give_back(self._database, self._node)
