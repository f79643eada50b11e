"""What hangs on a table, in the same words whatever the database: triggers, cascades, and who keeps the target."""

from __future__ import annotations

import re
from collections.abc import Sequence

from trueup.core.binding import Binding
from trueup.core.findings import Finding, State, fact
from trueup.core.guarantee import Guarantee
from trueup.core.projection import Writers


def together(binding: Binding) -> bool:
    """Do the writers say that they change source and target in one transaction?"""
    return binding.projection.writers in (Writers.SAME_TRANSACTION, Writers.MUTEX)


def triggers_fire(triggers: Sequence[str], see: str) -> Finding:
    """Triggers of the target; `see`: the command that shows them."""
    return fact(
        "triggers",
        not triggers,
        ", ".join(triggers) or "none",
        why="they fire for a repair as for any write; one that changes the row makes the repair fail",
        remedy=f"see what they do: {see}",
    )


def cascades(children: Sequence[str], binding: Binding) -> Finding:
    """Tables that lose rows, or what their rows refer to, with a row of the target."""
    deletes = binding.projection.extra_policy == "delete"
    return fact(
        "cascades",
        not children,
        ", ".join(children) or "no other table loses rows with a row of this one",
        why="deleting a row of the target deletes or changes rows of these tables",
        remedy='on_extra = "report"' if deletes else "keep on_extra from being delete",
        cap=Guarantee.REPORT_ONLY if deletes else None,
    )


def claimed(table: str, target: str, keeping: Sequence[str], parents: Sequence[str]) -> list[Finding]:
    """What triggers that write the target (`keeping`), and parents whose rows take this table's along without one
    seeing it, say of writers that change both in one transaction.
    """
    if parents:
        return [
            Finding(
                check="writers",
                state=State.WARN,
                seen=f"ON DELETE CASCADE takes rows of {table} along with {', '.join(parents)}, and no trigger sees it",
                why=f"then the source changes and {target} does not, in spite of what `writers` says: that makes drift",
                remedy=f"a trigger AFTER DELETE ON {table}, or delete its rows by themselves first",
            )
        ]
    seen = f"trigger {keeping[0]} on {table} writes {target}" if keeping else f"{table}: nothing contradicts them"
    return [Finding(check="writers", state=State.OK, seen=seen)]


def mentions(body: str, table: str) -> bool:
    """Does the text of a trigger name a table?"""
    return re.search(rf"\b{re.escape(table.rpartition('.')[2])}\b", body, re.IGNORECASE) is not None
