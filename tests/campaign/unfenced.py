"""`trueup serve` with everything taken out by which a node that lost its lease is stopped.

The control of `python -m tests.campaign.nodes`: of such nodes the judges have to see something.
"""

from __future__ import annotations

import sys
from typing import Any

from trueup.adapters._steps import UnitTransaction
from trueup.cli import main
from trueup.store import lock
from trueup.store.lease import Lease


def unaware(self: Lease) -> bool:
    """It does not notice that its lease is over, and renews what it has not."""
    _renew(self)
    return True


_renew = Lease.renew
TAKEN_OUT: list[tuple[Any, str, Any]] = [
    (lock, "guard", lambda *_: None),  # the token in transactions of the ledger
    (UnitTransaction, "hold_fence", lambda _: None),  # the token in transactions of the target
    (Lease, "renew", unaware),
]

if __name__ == "__main__":
    for owner, name, instead in TAKEN_OUT:
        assert hasattr(owner, name)
        setattr(owner, name, instead)
    sys.exit(main())
