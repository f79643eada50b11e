"""What people are shown of a database's pacing: plain values by name, kept in the ledger beside the lease."""

from __future__ import annotations

from typing import Any

from trueup.core.pace import governor as law
from trueup.core.pace.credit import Bucket
from trueup.core.pace.effective import Effective
from trueup.core.pace.said import Understood
from trueup.core.pace.tails import Impact
from trueup.pace.looking import Looking


def told(
    state: law.State, settings: Effective, impact: Impact, seen: Looking, bucket: Bucket, now: float
) -> dict[str, Any]:
    """How the load stands, and why; `now`: by the clock of the state."""
    limits, health, means = settings.limits, seen.health(now), seen.means
    return {
        "mode": state.mode,
        "since_s": now - state.since,
        "reason": state.reason,
        "ours": state.ours,
        "floor": limits.least,
        "ceiling": law.ceiling_of(limits, state),
        "most": limits.most,
        "protect": settings.protect,
        "budget": settings.budget,
        "slowed": impact.slowed,
        "readings": [impact.on, impact.off],
        "base_ms": impact.base_ms,
        "taken": means.taken,
        "latency_ms": None if means.latency_s is None else means.latency_s * 1000,
        "credit_s": bucket.credit,
        "spent_s": bucket.spent_s,
        "granted_s": bucket.granted_s,
        "next_s": max(state.next_at - now, 0.0),
        "pressure": health.pressure if health.known else None,
        "signal": health.signal,
        "signals": {
            name: {
                "value": signal.value,
                "soft": seen.marks[name].soft,
                "hard": seen.marks[name].hard,
                "pressure": signal.pressure,
                "age_s": now - (signal.at or now),
            }
            for name, signal in health.signals.items()
            if name in seen.marks
        },
    }


def unknown_words(said: Understood) -> str:
    """That not all of what is set is known here, and what follows from that."""
    names = ", ".join(said.unknown)
    return f"set is what is not known here ({names}); until that ends it keeps to the guaranteed minimum"
