"""What front ends show of what was discovered, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueup.core.binding import near
from trueup.discover import discover
from trueup.errors import NotThere

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trueup.app import Trueup
    from trueup.core.discover.judge import Proposal
    from trueup.discover import Found
    from trueup.view import View


_VERDICTS = {0: "in_sync", 1: "drift", 3: "inconclusive"}


def discovered_in(engine: Trueup, database: str, *, seconds: float, only: Sequence[str], limit: int) -> View:
    """What is derived from what in a declared database, and how many rows of it are wrong. Writes nothing.

    Raises NotThere for a database that is not declared, else as `discover`.
    """
    declared = {name: each for name, each in engine.databases.items() if not name.startswith("<")}
    if database not in declared:
        raise NotThere(f"there is no database {database!r}; {near(database, declared)}")
    found = discover(declared[database].url.get_secret_value(), seconds=seconds, only=only)
    return {"database": database, **discovered(found, limit)}


def discovered(found: Found, limit: int = 0) -> View:
    """The answer. `limit`: of each kind at most so many; 0: all."""
    end = limit or None
    return {
        "verdict": _VERDICTS[found.exit_code],
        "tables": found.tables,
        "seconds": round(found.seconds, 1),
        "proposals": [{**_proposal(p), "query": found.queries[p.column]} for p in found.proposals[:end]],
        "wrong_guesses": [_proposal(p) for p in found.wrong_guesses[:end]],
        "views": [
            {"view": kept.view.name, "rows": kept.figures.rows, "wrong": kept.figures.wrong}
            for kept in found.kept[:end]
        ],
        "invariants": [
            {"invariant": broken.invariant.words, "rows": broken.rows, "wrong": broken.wrong}
            for broken in found.broken[:end]
        ],
        "missed": found.missed[:end],
    }


def _proposal(proposal: Proposal) -> View:
    figures, other = proposal.figures, proposal.runner_up
    return {
        "column": proposal.column,
        "derived_from": proposal.idea.formula,
        "verdict": str(proposal.verdict).replace(" ", "_"),
        "confidence": proposal.confidence,
        "rows": figures.rows,
        "wrong": figures.wrong,
        "telling": figures.telling,
        "sample": proposal.sample,
        "reasons": list(proposal.reasons),
        "runner_up": None if other is None else {"derived_from": other.idea.formula, "wrong": other.figures.wrong},
    }
