"""What the rows that are known to be wrong have in common, for front ends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from trueup.beside import beside
from trueup.core.causes import causes as in_common
from trueup.core.where import ROWS_MIN
from trueup.described import rules_then
from trueup.discreet import discreet_words
from trueup.errors import Interrupted, TrueupError

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.core.rules import Rules
    from trueup.store.standing import DriftRow
    from trueup.view import View


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """Known drift that was found in the columns that are compared by now."""

    columns: tuple[str, ...] = ()
    rows: tuple[DriftRow, ...] = ()
    #: What the newest run that found some of it allowed beyond equality.
    rules: Rules = ()


def causes(engine: Trueup, name: str) -> list[View]:
    """What the rows that are known to be wrong have in common, most rows first; of those with the newest columns."""
    return _in_common(engine, name, _known(engine, name))


def causes_besides(engine: Trueup, name: str) -> tuple[list[View], str]:
    """The same, and both databases are asked besides: for columns that are not compared, and how usual a value is. Why
    less is told than could be; empty: nothing is in the way.
    """
    known = _known(engine, name)
    if len(known.rows) < ROWS_MIN:
        return [], ""
    if (state := engine.standing.control(name).state) != "running":
        return _in_common(engine, name, known), f"it is {state}"
    try:
        with engine.asking(name) as pair:
            if pair.binding.columns != known.columns:
                return _in_common(engine, name, known), "other columns are compared now; check again"
            reports = (run.report for run in engine.runs(name) if run.whole and run.report)
            read = next((max(report["source_rows"], report["target_rows"]) for report in reports), None)
            besides = beside(pair, [row.drift for row in known.rows], read)
            return _in_common(engine, name, known, beside=besides.known(), ask=besides.ask), besides.trouble
    except Interrupted:
        raise
    except TrueupError as error:  # the ledger knows, whatever a database says
        return _in_common(engine, name, known), discreet_words(engine.projection(name), error)


def _known(engine: Trueup, name: str) -> _Known:
    parts = len(engine.projection(name).key)
    rows = [row for row in engine.drift(name, limit=0) if len(row.drift.key) == parts]
    if not rows:
        return _Known()
    columns = {run: engine.find_run(run).columns for run in {row.run for row in rows}}
    newest = engine.find_run(max(rows, key=lambda row: row.last_seen).run)
    return _Known(
        columns=newest.columns,
        rows=tuple(row for row in rows if columns[row.run] == newest.columns),
        rules=rules_then(engine.ledger, newest),
    )


def _in_common(engine: Trueup, name: str, known: _Known, **besides: Any) -> list[View]:
    projection = engine.projection(name)
    found = in_common(
        [row.drift for row in known.rows],
        key=projection.key,
        columns=known.columns,
        hidden=[column in projection.sensitive for column in known.columns],
        rules=known.rules,
        first_seen=[row.first_seen for row in known.rows],
        **besides,
    )
    return [asdict(cause) for cause in found]
