"""What drift itself says of the writers: under writers that change both sides together, a difference does not move."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from trueup.core.again import names_rows
from trueup.core.compare import Suspect
from trueup.core.findings import Finding, State
from trueup.core.plan import by_keys
from trueup.core.projection import Writers
from trueup.core.row import Value
from trueup.narrow import narrow
from trueup.side_by_side import Pair
from trueup.store.standing import DriftRow


def drift_moved(pair: Pair, known: Sequence[DriftRow]) -> list[Finding]:
    """A warning if rows that are known to be wrong are wrong by another amount now.

    A transaction that changes the source and the target together changes both by the same amount, so it leaves the
    difference as it was. One that changed is evidence of a writer that is not what `writers` says.
    """
    binding = pair.binding
    if binding.projection.writers not in (Writers.SAME_TRANSACTION, Writers.MUTEX) or not known:
        return []
    then = {
        row.drift.key: row
        for row in known
        if len(row.drift.expected or ()) == len(binding.columns) and names_rows(binding.key_kinds, row.drift.key)
    }
    now = {
        suspect.key: suspect
        for segment in by_keys(list(then))
        for covered in narrow(pair, segment)
        for suspect in covered.suspects
        if suspect.key in then  # what a text spells has another key than the number that it was
    }
    moved = [
        f"key {binding.named_key(key)}: {name} was off by {before:+} at {then[key].last_seen:%Y-%m-%d %H:%M} UTC, now "
        f"by {after:+}"
        for key, suspect in now.items()
        for name, before, after in zip(binding.columns, _off(then[key].drift), _off(suspect), strict=True)
        if before is not None and after is not None and before != after
    ]
    if not moved:
        return []
    return [
        Finding(
            check="writers",
            place=f"projections.{binding.projection.name}",
            state=State.WARN,
            seen="; ".join(moved[:3]) + (f"; and {len(moved) - 3} more" if len(moved) > 3 else ""),
            why="writers that change source and target in one transaction leave a difference as it is",
            remedy="find the writer that changes only one of them, and declare `writers` as it is",
        )
    ]


def _off(suspect: Suspect) -> list[Decimal | None]:
    """How far each observed number is from the expected one."""
    nothing = (None,) * max(len(suspect.expected or ()), len(suspect.observed or ()))
    pairs = zip(suspect.expected or nothing, suspect.observed or nothing, strict=True)
    return [None if a is None or b is None else b - a for a, b in ((_number(e), _number(o)) for e, o in pairs)]


def _number(value: Value) -> Decimal | None:
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None
