"""What the rows that are known to be wrong have in common, for front ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from trueup.beside import beside
from trueup.core.causes import causes as in_common
from trueup.core.where import ROWS_MIN
from trueup.discreet import discreet_words
from trueup.errors import Interrupted, TrueupError

if TYPE_CHECKING:
    from trueup.app import Trueup
    from trueup.store.standing import DriftRow

View = dict[str, Any]


def causes(engine: Trueup, name: str) -> list[View]:
    """What the rows that are known to be wrong have in common, most rows first; of those with the newest columns."""
    return _in_common(engine, name, *_of_newest_columns(engine, name))


def causes_besides(engine: Trueup, name: str) -> tuple[list[View], str]:
    """The same, and both databases are asked besides: for columns that are not compared, and how usual a value is. Why
    less is told than could be; empty: nothing is in the way.
    """
    columns, rows = _of_newest_columns(engine, name)
    if len(rows) < ROWS_MIN:
        return [], ""
    if (state := engine.standing.control(name).state) != "running":
        return _in_common(engine, name, columns, rows), f"it is {state}"
    try:
        with engine.asking(name) as pair:
            if pair.binding.columns != columns:
                return _in_common(engine, name, columns, rows), "other columns are compared now; check again"
            reports = (run.report for run in engine.runs(name) if run.whole and run.report)
            read = next((max(report["source_rows"], report["target_rows"]) for report in reports), None)
            besides = beside(pair, [row.drift for row in rows], read)
            asked = {"beside": besides.known(), "ask": besides.ask, "rules": pair.binding.rules}
            return _in_common(engine, name, columns, rows, **asked), besides.trouble
    except Interrupted:
        raise
    except TrueupError as error:  # the ledger knows, whatever a database says
        return _in_common(engine, name, columns, rows), discreet_words(engine.projection(name), error)


def _of_newest_columns(engine: Trueup, name: str) -> tuple[tuple[str, ...], list[DriftRow]]:
    """Known drift that was found in the columns that are compared by now, and these."""
    known = engine.drift(name, limit=0)
    if not known:
        return (), []
    columns = {run: engine.find_run(run).columns for run in {row.run for row in known}}
    newest = columns[max(known, key=lambda row: row.last_seen).run]
    return tuple(newest), [row for row in known if columns[row.run] == newest]


def _in_common(
    engine: Trueup, name: str, columns: tuple[str, ...], rows: Sequence[DriftRow], **besides: Any
) -> list[View]:
    projection = engine.projection(name)
    found = in_common(
        [row.drift for row in rows],
        key=projection.key,
        columns=columns,
        hidden=[column in projection.sensitive for column in columns],
        first_seen=[row.first_seen for row in rows],
        **besides,
    )
    return [asdict(cause) for cause in found]
