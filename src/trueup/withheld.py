"""Decisions that are not carried out: rows in quarantine, and rows that were repaired too often."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from trueup.core.compare import DriftKind, Suspect
from trueup.core.counted import counted
from trueup.core.decide import Action, Decision
from trueup.core.plan import Keys, Segment, describe, holds, overlap, to_json
from trueup.core.projection import Projection
from trueup.core.quarantine import Quarantined, Repaired, Trouble, recurs, too_many
from trueup.core.row import Key, named_parts
from trueup.errors import UsageError
from trueup.job import Job
from trueup.store.quarantine import Quarantine, history_json
from trueup.store.records import Narrowed, RunRow


class Withheld:
    """What one run leaves alone, and why; read once, and kept up to date as rows come and go."""

    def __init__(self, job: Job, run: RunRow) -> None:
        self.job = job
        self.run = run
        #: A rollback takes no notice of quarantine, and puts nothing into it.
        self.applies = job.undoing is None
        self.held = job.quarantine.held(job.name) if self.applies else {}
        self.recurring = _recurring(job) if self.applies else {}

    def review(self, decisions: Sequence[Decision]) -> list[Decision]:
        """The decisions, those that are not to be carried out turned into reports with the reason."""
        writing = [decision.drift for decision in decisions if decision.action is not Action.REPORT]
        self._put(
            self._row(drift, Trouble.RECURRING, _told(history), evidence=history_json(history))
            for drift in writing
            if (history := self.recurring.get(drift.key))
        )
        return [self._reviewed(decision) for decision in decisions]

    def _reviewed(self, decision: Decision) -> Decision:
        key = decision.drift.key
        if decision.action is Action.REPORT:
            return decision
        held = self.held.get(key)
        aged = held is not None and held.trouble is Trouble.RECURRING and key not in self.recurring
        if held is None or aged or not held.holds(decision.drift):
            return decision
        return replace(decision, action=Action.REPORT, reason=held.told)

    def refused(self, rows: Iterable[tuple[Suspect, str]]) -> None:
        """The target's database refused these rows, for the reasons given."""
        self._put(self._row(suspect, Trouble.REFUSED, why) for suspect, why in rows)

    def failed(self, decisions: Sequence[Decision]) -> None:
        """On these of them nothing could be made of the row."""
        told = [(decision.drift, decision.drift.problem) for decision in decisions if decision.drift.problem]
        self._put(self._row(suspect, Trouble.FAILED, why) for suspect, why in told)

    def unreadable(self, rows: dict[Key, str]) -> None:
        """These rows could not be read when they were looked at again; what was known of them is as it was."""
        nothing = Suspect(kind=DriftKind.DIFFERENT, key=(), expected=None, observed=None)
        self._put(
            self._row(
                replace(nothing, key=key), Trouble.UNREADABLE, why, evidence={"segment": to_json(Keys(keys=(key,)))}
            )
            for key, why in rows.items()
        )
        rows.clear()

    def not_compared(self, seen: Narrowed) -> str:
        """What the run could not compare, in words; empty: nothing."""
        binding = self.job.pair.binding
        rows = [row for row in self.held.values() if self._unread_now(row)]
        told = [f"{binding.named_key(row.key)}: {row.reason}" for row in rows]
        told += [f"{describe(span)}: {why}" for span, why in seen.aside if self._culprit(span) is None]
        if not told:
            return ""
        more = f", and {len(told) - 1} more" if len(told) > 1 else ""
        many = counted(len(told), "row or segment", "rows or segments")
        return f"{many} could not be compared: {told[0]}{more}"

    def unread(self, seen: Narrowed) -> Callable[[Key], bool]:
        """Tells whether a row was in what could not be compared."""
        spans = [span for span, _ in seen.aside]
        keys = {row.key for row in self.held.values() if self._unread_now(row)}
        return lambda key: key in keys or any(overlap(span, Keys(keys=(key,))) for span in spans)

    def among(self, wrong: Collection[Key]) -> list[Quarantined]:
        """Rows in quarantine that are wrong, or that this run could not read."""
        return [row for row in self.held.values() if row.key in wrong or self._unread_now(row)]

    def _unread_now(self, row: Quarantined) -> bool:
        return row.trouble is Trouble.UNREADABLE and row.run == self.run.id

    def _culprit(self, span: Segment) -> Key | None:
        """The row to blame for a segment that could not be compared."""
        return next((row.key for row in self.held.values() if self._unread_now(row) and holds(span, row.key)), None)

    def _row(self, suspect: Suspect, trouble: Trouble, why: str, *, evidence: Any = None) -> Quarantined:
        now = self.job.clock.now()
        return Quarantined(
            key=suspect.key,
            trouble=trouble,
            reason=why,
            evidence=evidence,
            expected=suspect.expected,
            observed=suspect.observed,
            first_seen=now,
            last_seen=now,
            run=self.run.id,
        )

    def _put(self, rows: Iterable[Quarantined]) -> None:
        new = list(rows)
        if new and self.applies:
            self.job.quarantine.put(self.job.name, new)
            self.held = self.job.quarantine.held(self.job.name)

    def settled(self, keys: Collection[Key] | None, wrong: Collection[Key], seen: Narrowed) -> None:
        """Take out what this run found to be right again: of these keys (None: of all), those that are not wrong."""
        unread = self.unread(seen)
        right = [
            key
            for key, row in self.held.items()
            if (keys is None or key in keys or row.trouble is Trouble.REFUSED)
            and key not in wrong
            and key not in self.recurring
            and not unread(key)
        ]
        self.job.quarantine.release(self.job.name, right, self.job.clock.now())
        self.held = {key: row for key, row in self.held.items() if key not in right}

    def many(self, decisions: Sequence[Decision]) -> str:
        """Why nothing is repaired, where recurring rows are most of what there is to repair; empty otherwise."""
        recurring = [d for d in decisions if d.action is Action.REPORT and d.drift.key in self.recurring]
        writing = sum(d.action is not Action.REPORT for d in decisions) + len(recurring)
        if not too_many(len(recurring), writing):
            return ""
        declared = self.job.pair.binding.projection.recurring
        return (
            f"{len(recurring):,} of {writing:,} rows are wrong again, though each was repaired {declared.times} times "
            f"or more lately: a writer is broken, and a repair would only hide it. Nothing was written. `trueup "
            f"quarantine list {self.job.name}` shows when each was repaired; when the writer is mended, `trueup "
            f"quarantine retry {self.job.name}`"
        )


def _recurring(job: Job) -> dict[Key, list[Repaired]]:
    """Rows that were repaired as often as is declared, and not taken out of quarantine since."""
    declared = job.pair.binding.projection.recurring
    if not declared.times:
        return {}
    since = job.clock.now() - timedelta(seconds=declared.within)
    often = job.quarantine.repaired_often(job.name, declared.times, since)
    released = job.quarantine.released(job.name, often)
    return {key: history for key, history in often.items() if recurs(history, declared, released.get(key))}


def _told(history: Sequence[Repaired]) -> str:
    first, last = history[0].at, history[-1].at
    return (
        f"repaired {len(history)} times from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, and wrong again: "
        f"some writer breaks it. It is not repaired until the writer is mended and `trueup quarantine retry` says so"
    )


def taken_out(
    quarantine: Quarantine,
    projection: Projection,
    keys: Sequence[Mapping[str, Any]] | None,
    now: datetime,
    *,
    retried: bool = False,
) -> list[dict[str, Any]]:
    """Rows by their named keys (None: all), now out of quarantine.

    Raises UsageError where one is not in it, or none is.
    """
    held = [named_parts(projection.key, key) for key in quarantine.held(projection.name)]
    chosen = held if keys is None else [_named(projection.name, held, key) for key in keys]
    if not chosen:
        raise UsageError(f"{projection.name}: nothing is in quarantine")
    quarantine.release(projection.name, [tuple(key.values()) for key in chosen], now, retried=retried)
    return chosen


def _named(name: str, held: Sequence[dict[str, Any]], key: Mapping[str, Any]) -> dict[str, Any]:
    """The row in quarantine that a key names; what is given as text is meant as what it spells."""
    for row in held:
        if set(row) == set(key) and all(str(row[part]) == str(key[part]) for part in row):
            return row
    raise UsageError(f"{name}: {dict(key)} is not in quarantine; `trueup quarantine list {name}` shows what is")
