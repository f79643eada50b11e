"""Does the audit log tell of each record of the ledger, of each exactly once, and what the record says?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from trueup.core.told import COMMITMENT, SHORT, commitment, rows_of, sha256
from trueup.store import schema as t
from trueup.store import schema_audit as logged
from trueup.store.ledger import Ledger
from trueup.store.salts import salts_of
from trueup.store.schema_serving import tokens

#: Records that keep the SHA-256 of the line that tells of them, and the acts that are told by such a line.
RECORDS = {
    "run.began": t.runs,
    "rows.intended": t.segments,
    "rows.outcome": t.units,
    "lot.intended": t.lots,
    "lot.outcome": t.units,
    "plan.made": t.plans,
    "plan.approved": t.approvals,
    "plan.rejected": t.approvals,
    "token.created": tokens,
}
#: What a row's line says that its record says too, where nothing in it is sensitive.
_SAME = ("key", "outcome", "action", "before", "after", "token", "evidence", "witness")


@dataclass(slots=True)
class Found:
    """What the lines of a log tell, as far as records are held against it."""

    #: SHA-256 of staged lines -> how often they are there.
    told: dict[str, int] = field(default_factory=dict)
    acts: dict[str, str] = field(default_factory=dict)
    commitments: set[str] = field(default_factory=set)
    #: Unit -> parts of it that were not all seen yet.
    _parts: dict[str, list[str]] = field(default_factory=dict)
    #: Unit -> SHA-256 of what its lines say of its rows.
    units: dict[str, str] = field(default_factory=dict)
    #: What lines say of lots, by their SHA-256, and of what units did to lots.
    lots: dict[str, dict[str, Any]] = field(default_factory=dict)
    lot_outcomes: list[dict[str, Any]] = field(default_factory=list)
    #: Runs and plans that were taken out of the ledger since, and which of them a line tells of, by its SHA-256.
    pruned: set[str] = field(default_factory=set)
    about: dict[str, str] = field(default_factory=dict)

    def see(self, line: bytes) -> None:
        """One more line."""
        told = json.loads(line)
        staged = "{" + line.decode().partition(",")[2]
        self.commitments.update(COMMITMENT.findall(line.decode()))
        if told["act"] == "history.pruned":
            self.pruned.update(told["runs"], told["plans"])
        if told["act"] not in RECORDS:
            return
        if told["act"] == "lot.intended":
            self.lots[sha256(staged)] = told
        if told["act"] == "lot.outcome":
            self.lot_outcomes.append(told)
        if "part" in told:
            parts = self._parts.setdefault(told["id"], [])
            parts.append(staged)
            if len(parts) < int(told["part"].partition("/")[2]):
                return
            staged = "\n".join(self._parts.pop(told["id"]))
            if told["act"] == "rows.outcome":
                self.units[told["unit"]] = _rows_told(staged)
                self.about[told["unit"]] = told["run"]
        digest = sha256(staged)
        self.told[digest] = self.told.get(digest, 0) + 1
        self.acts[digest] = told["act"]
        self.about[digest] = told.get("run") or told.get("plan", "")

    def without(self, pruned: Collection[str]) -> Found:
        """The same without what was taken out of the ledger."""
        kept = {name for name in (*self.told, *self.units) if self.about.get(name) not in pruned}
        return replace(
            self,
            told={digest: times for digest, times in self.told.items() if digest in kept},
            units={unit: digest for unit, digest in self.units.items() if unit in kept},
            lot_outcomes=[told for told in self.lot_outcomes if told["run"] not in pruned],
        )


def check_records(ledger: Ledger, found: Found) -> list[str]:
    """What does not fit, in words. Lines that are staged and not numbered yet are told as well."""
    problems = [f"{found.acts[digest]}: told {n} times (sha256 {digest})" for digest, n in found.told.items() if n > 1]
    with ledger.reading() as c:
        waiting = Found()
        for line in c.execute(
            sa.select(logged.audit.c.line).where(logged.audit.c.seq.is_(None)).order_by(logged.audit.c.id)
        ).scalars():
            waiting.see(b'{"seq":0,' + line[1:].encode())
        first = int(c.execute(sa.select(logged.audit_log.c.first)).scalar() or 0)
        known = set(found.told) | set(waiting.told)
        pruned = found.pruned | waiting.pruned
        found, waiting = found.without(pruned), waiting.without(pruned)
        recorded: set[str] = set()
        for act, table in RECORDS.items():
            digests = set(c.execute(sa.select(table.c.audit).where(table.c.audit.is_not(None))).scalars())
            recorded |= digests
            if not first:  # what was pruned is told by the head at the cut alone
                problems += [f"{act}: a record of {table.name} is not in the log ({gone})" for gone in digests - known]
        problems += [
            f"{found.acts[digest]}: the log tells of something that the ledger has no record of ({digest})"
            for digest in set(found.told) - recorded
        ]
        problems += _units(c, {**found.units, **waiting.units})
        problems += _lots(c, {**found.lots, **waiting.lots})
        problems += _lot_outcomes(c, [*found.lot_outcomes, *waiting.lot_outcomes])
        problems += _untold(c)
    commitments = found.commitments | waiting.commitments
    for salt in salts_of(ledger):
        right = commitment(bytes.fromhex(salt["salt"]), salt["value"]) == salt["commitment"]
        if not right or (salt["commitment"] not in commitments and not first):
            problems.append(f"a sensitive value is not the one that {salt['commitment']} stands for")
    return problems


def _rows_told(staged: str) -> str:
    """SHA-256 of what lines say of their rows."""
    digest = hashlib.sha256()
    for line in staged.split("\n"):
        rows = rows_of(json.loads(line)["rows"])
        for row in zip(*(rows[name] for name in _SAME), strict=True):
            digest.update(_row(row))
    return digest.hexdigest()


def _row(values: Any) -> bytes:
    """A row, with hashes for what may have been too long for a line."""
    told = [value["sha256"] if isinstance(value, dict) else value for value in values]
    told = [sha256(value) if value and len(value) > SHORT else value for value in told]
    return json.dumps(told).encode() + b"\n"


def _units(c: sa.Connection, told: dict[str, str]) -> Iterator[str]:
    """Units whose rows are not what their lines say. Rows with sensitive values are held against their commitments."""
    hidden = {run for run, flags in c.execute(sa.select(t.runs.c.id, t.runs.c.hidden)) if "true" in (flags or "true")}
    columns = [t.outcomes.c[name] for name in _SAME]
    for unit, digest in told.items():
        rows = c.execute(
            sa.select(t.outcomes.c.run, *columns).where(t.outcomes.c.unit == unit).order_by(t.outcomes.c.id)
        )
        found = hashlib.sha256()
        runs = set()
        for run, *values in rows:
            runs.add(run)
            found.update(_row(values))
        if not runs & hidden and found.hexdigest() != digest:
            yield f"rows.outcome: unit {unit} did other things, by the ledger, than the log tells"


def _lots(c: sa.Connection, told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Lots whose rows are not what their lines say."""
    for digest, line in told.items():
        said = (line["kind"], line["action"], line["count"], line["content"]["sha256"])
        for row in c.execute(sa.select(t.lots).where(t.lots.c.audit == digest)):
            if (row.kind, row.action, str(row.size), sha256(row.content)) != said:
                yield f"lot.intended: lot {row.id} is another one, by the ledger, than the log tells"


def _lot_outcomes(c: sa.Connection, told: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Units that did other things to a lot than their lines say."""
    for line in told:
        of = sa.select(t.lot_outcomes, t.lots.c.audit).join(t.lots, t.lots.c.id == t.lot_outcomes.c.lot)
        row = c.execute(of.where(t.lot_outcomes.c.unit == line["unit"])).one_or_none()
        names = ("lot", "outcome", "count", "row_version", "evidence", "witness")
        said = [line[name] for name in names]
        recorded = row and [row.audit, row.outcome, str(row.size), row.token, row.evidence, row.witness]
        left = row and [json.dumps(key) for key in json.loads(row.left_out)]
        if recorded != said or told_aside(left) != told_aside(line["left_out"]):
            yield f"lot.outcome: unit {line['unit']} did other things, by the ledger, than the log tells"


def told_aside(value: Any) -> Any:
    """A value as it is told where it is too long for a line."""
    if isinstance(value, dict):
        return value["sha256"]
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":")))


def _untold(c: sa.Connection) -> Iterator[str]:
    """Records of runs that the log knows the beginning of, which no line tells of."""
    kept = (
        (t.units, t.outcomes.c.unit),
        (t.units, t.lot_outcomes.c.unit),
        (t.segments, t.decisions.c.segment),
        (t.lots, t.lots.c.id),
    )
    for table, what in kept:
        mine = sa.select(what).join(t.runs, t.runs.c.id == what.table.c.run).where(t.runs.c.audit.is_not(None))
        untold = sa.select(table.c.id).where(table.c.audit.is_(None), table.c.id.in_(mine))
        yield from (f"{table.name} {record}: no line tells of its rows" for record in c.execute(untold).scalars())
