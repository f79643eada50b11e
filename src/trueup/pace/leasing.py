"""What a process may use of a database's budget, and whether it is the one that looks: a lease, which it renews."""

from __future__ import annotations

from collections.abc import Sequence

from trueup.clock import Clock
from trueup.core.pace.sharing import GRANT_S, USED, Demand
from trueup.store.paces import Doing, Paces, Renewed, Report


class Lease:
    """One node's. What was granted ends by itself where it is not renewed."""

    def __init__(self, paces: Paces, database: str, node: str, clock: Clock) -> None:
        self._paces, self._database, self._node, self._clock = paces, database, node, clock
        #: Does this node look and decide?
        self.leads = False
        #: What was granted, of what all might use together then, and until when, by a clock that only goes forward.
        self.u = self.granted_of = 0.0
        self.until = clock.monotonic()
        #: What all may use together by now.
        self.total = 0.0
        #: What other nodes do, and how many of them want something, as of the last renewal.
        self.others: Sequence[Doing] = ()
        self.wanting = 0

    def renew(self, wants: float, weight: float, report: Report, doing: Doing) -> Renewed:
        """Ask the ledger. Raises LedgerFailed: what was granted is used up to its end then."""
        asked_at = self._clock.monotonic()  # and the ledger may take long
        demand = Demand(who=self._node, wants=wants, weight=weight)
        renewed = self._paces.renew(self._database, demand, report, doing)
        self.leads, self.u, self.until = renewed.leads, renewed.u, asked_at + GRANT_S * USED
        self.granted_of = self.total = renewed.total
        self.others, self.wanting = renewed.others, renewed.wanting
        return renewed

    def holds(self, now: float) -> float:
        """What may be in flight. Where all may use less than when it was granted, each uses as much less. Of a rise
        since then it knows nothing: after a rise and a fall all together may have somewhat more, until they ask again.
        """
        if now >= self.until or not self.granted_of:
            return 0.0
        return self.u * min(self.total / self.granted_of, 1.0)

    def end(self) -> None:
        """Others may have it. Raises LedgerFailed: then it ends by itself."""
        self.leads, self.u = False, 0.0
        self._paces.give_back(self._database, self._node)
