"""What a run answers. The fields of `to_dict` are a contract with users; new ones may be added."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import compress, islice
from typing import TYPE_CHECKING, Any

from trueup.core.causes import causes
from trueup.core.compare import Counts, Suspect, covered
from trueup.core.partition import Calendar
from trueup.core.quarantine import Quarantined
from trueup.core.row import present
from trueup.core.rules import Rules
from trueup.core.rules import differing as unequal_columns
from trueup.core.states import EXIT_CODES, Outcome, Verdict
from trueup.core.undo import DIFFERS
from trueup.store.coverage import Coverage
from trueup.store.partitions import partitions_of
from trueup.store.records import DecisionRow, Narrowed, OutcomeRow, RunRow

if TYPE_CHECKING:
    from trueup.core.binding import Binding
    from trueup.core.guarantee import Promise
    from trueup.core.projection import Projection
    from trueup.core.row import Key, Values
    from trueup.job import Job
    from trueup.store.decided import Decided
    from trueup.store.plans import PlanRow


#: Fields that are left out of the JSON where they say nothing.
OPTIONAL = (
    "plan",
    "plan_hash",
    "undoes",
    "approvals_needed",
    "reason",
    "partitions",
    "open_partitions",
    "quarantined_rows",
    "passed_over",
)
#: Rows in flight that a report lists.
IN_FLIGHT_ROWS = 100
#: Rows among which common causes are sought, where many are kept together.
CAUSES_ROWS = 2_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The answer for one projection."""

    projection: str
    run: str
    command: str
    verdict: Verdict
    #: Why it is refused or inconclusive; empty otherwise.
    reason: str
    guarantee: str
    strategy: str
    source_rows: int
    target_rows: int
    missing: int
    extra: int
    different: int
    different_by_column: dict[str, int]
    in_flight: int
    resolved: int
    #: Differences that somebody accepted; none of the counts above has them.
    accepted: int = 0
    #: Rows that were put right by this run, and read again.
    repaired: int
    #: Rows left alone because they had moved on since they were decided on.
    stepped_aside: int
    #: Rows that are still wrong, or that the database refused.
    left: int
    duplicate_keys: dict[str, int]
    null_keys: dict[str, int]
    segments: dict[str, int]
    seconds: float
    #: Whether the protocol was seen to hold on this server (`trueup doctor`).
    proof: str = ""
    #: Why the guarantee is what it is.
    guarantee_reasons: tuple[str, ...] = ()
    #: At most as many as were asked for; the counts above are complete.
    drift: list[dict[str, Any]] = field(default_factory=list)
    #: The first 100 of `in_flight`, as they were at the last look; of a resumed run, those seen since.
    in_flight_rows: list[dict[str, Any]] = field(default_factory=list)
    #: What the drifting rows have in common, most rows first: sentence, kind, rows, share.
    causes: list[dict[str, Any]] = field(default_factory=list)
    #: Rows by column in which one side has a NULL that is declared to be unknown, so that nothing was compared there.
    not_compared: dict[str, int] = field(default_factory=dict)
    #: Rows that a backfill looked at and does not change, by why.
    passed_over: dict[str, int] = field(default_factory=dict)
    #: Partitions, those with most drift first, at most as many as rows were asked for; empty where none are declared.
    partitions: list[dict[str, Any]] = field(default_factory=list)
    #: Buckets of time that had begun and were not compared yet, and when each can be.
    open_partitions: list[dict[str, Any]] = field(default_factory=list)
    #: Rows in quarantine that are wrong, or that could not be read, at most as many as were asked for.
    quarantined_rows: list[dict[str, Any]] = field(default_factory=list)
    #: How many there are.
    quarantined: int = 0
    plan: str = ""
    plan_hash: str = ""
    #: The run that was undone.
    undoes: str = ""
    #: People that have to approve the plan before it is carried out.
    approvals_needed: int = 0
    resumed: bool = False

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    @property
    def drifted(self) -> int:
        return self.missing + self.extra + self.different

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        data: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        data["verdict"] = str(self.verdict)
        data["seconds"] = round(self.seconds, 3)
        for optional in OPTIONAL:
            if not data[optional]:
                del data[optional]
        return data

    def to_json_text(self) -> str:
        return json.dumps(self.to_dict(), ensure_ascii=False)


def build(
    job: Job,
    run: RunRow,
    *,
    verdict: Verdict,
    reason: str,
    decisions: Decided,
    left: Sequence[tuple[Suspect, str]],
    seen: Narrowed,
    in_flight: int,
    moving: Sequence[Suspect],
    seconds: float,
    plan: PlanRow | None,
    approvals_needed: int,
    resumed: bool,
    quarantined: Sequence[Quarantined],
) -> Report:
    """Put the ledger's figures of a run together."""
    binding, counts = job.pair.binding, seen.counts
    tallies, final = Coverage(job.ledger).tallies(run.id), final_outcomes(job.ledger.outcome_rows(run.id))
    kinds, rows = decisions.kinds(), decisions.rows
    by_column = _counted(binding, run, counts, tallies) if decisions.lots else _by_column(binding, rows)
    accepted = tallies.get("accepted", 0)
    if counts.differing > len(decisions) + accepted and job.one_look:
        # More than were handed out: the database's own counts are complete, and one look was proof.
        kinds.update(missing=counts.missing - kinds["missing"], extra=counts.extra - kinds["extra"])
        kinds.update(different=counts.different - kinds["different"])
        by_column = Counter(counts.different_by_column)
    wrong = {suspect.key for suspect, _ in left}
    listed = rows if not decisions.lots else list(islice(decisions, max(CAUSES_ROWS, job.rows) if job.rows else None))
    return Report(
        projection=job.name,
        run=run.id,
        command=job.command,
        verdict=verdict,
        reason=reason,
        **_promised(job.promise),
        strategy=run.strategy,
        source_rows=counts.source_rows,
        target_rows=counts.target_rows,
        missing=kinds["missing"],
        extra=kinds["extra"],
        different=kinds["different"],
        different_by_column={name: count for name, count in by_column.items() if count},
        in_flight=tallies.get("in_flight", 0) + in_flight,
        resolved=tallies.get("resolved", 0),
        accepted=accepted,
        repaired=_repaired(job, run, decisions, final, wrong),
        stepped_aside=sum(o.outcome in (Outcome.CAS_LOST, Outcome.SUPERSEDED) for o in final.values()),
        left=len(wrong),
        duplicate_keys={"source": counts.duplicate_keys_source, "target": counts.duplicate_keys_target},
        null_keys={"source": counts.null_keys_source, "target": counts.null_keys_target},
        not_compared=dict(counts.not_compared),
        passed_over=dict(counts.passed_over),
        segments={"planned": seen.planned, "done": seen.done},
        seconds=seconds,
        drift=drift_rows(job, listed, final),
        causes=_causes(binding, [item.decision.drift for item in listed]),
        in_flight_rows=[_listed(binding, suspect) for suspect in moving[:IN_FLIGHT_ROWS]],
        partitions=_partitions(job, run, rows),
        open_partitions=_open_partitions(job, run),
        quarantined=len(quarantined),
        quarantined_rows=[quarantined_row(binding.projection, row) for row in quarantined[: job.rows or None]],
        plan="" if plan is None else plan.id,
        undoes=run.undoes or "",
        plan_hash="" if plan is None else plan.hash,
        approvals_needed=approvals_needed,
        resumed=resumed,
    )


def _repaired(job: Job, run: RunRow, decided: Decided, final: Mapping[Key, OutcomeRow], wrong: Collection[Key]) -> int:
    """Rows that were put right. One of a lot that was written again by itself is one row, and its last word counts."""
    count = sum(o.outcome is Outcome.APPLIED and key not in wrong for key, o in final.items())
    odd = {*final, *wrong} - {item.decision.drift.key for item in decided.rows}
    lots = job.ledger.lots
    for done in lots.outcomes_of(run.id):
        if done.outcome is Outcome.APPLIED:
            count += done.count
            rows = lots.content(lots.find(done.lot)).rows() if odd else ()
            count -= len({row.key for row in rows if row.key in odd} - set(done.done.left))
    return count


def _counted(binding: Binding, run: RunRow, counts: Counts, tallies: Mapping[str, int]) -> Counter[str]:
    """In how many rows each column differs, as was counted when they were looked at: one look was proof."""
    if run.undoes is None:
        return Counter(counts.different_by_column)
    return Counter({name: tallies.get(f"{DIFFERS}{name}", 0) for name in binding.columns})


def _by_column(binding: Binding, decisions: Sequence[DecisionRow]) -> Counter[str]:
    """In how many rows each column differs."""
    counted: Counter[str] = Counter()
    for item in decisions:
        if item.decision.drift.kind == "different":
            counted.update(differing(item.decision.drift, binding.columns, binding.rules))
    return counted


def _promised(promise: Promise) -> dict[str, Any]:
    """The class, whether it was probed, and why it is what it is."""
    return {
        "guarantee": promise.label,
        "proof": str(promise.proof),
        "guarantee_reasons": promise.reasons,
    }


def _partitions(job: Job, run: RunRow, decisions: Sequence[DecisionRow]) -> list[dict[str, Any]]:
    """What was found in each partition."""
    binding = job.pair.binding
    if binding.cut_kind is None or run.plan is not None:
        return []
    kind_of = {item.decision.drift.key: str(item.decision.drift.kind) for item in decisions}
    listed = []
    for part, seen in partitions_of(job.ledger, run.id).items():
        kinds = Counter(kind_of[key] for key in seen.keys if key in kind_of)
        if job.one_look and seen.counts.differing > len(seen.keys):
            kinds = Counter({kind: getattr(seen.counts, kind) for kind in ("missing", "extra", "different")})
        rows = {"source_rows": seen.counts.source_rows, "target_rows": seen.counts.target_rows}
        found = {kind: kinds[kind] for kind in ("missing", "extra", "different")}
        listed.append({"partition": part.shown, **rows, **found})
    listed.sort(key=lambda row: -(row["missing"] + row["extra"] + row["different"]))
    return listed[: job.rows or None]


def _open_partitions(job: Job, run: RunRow) -> list[dict[str, Any]]:
    """Buckets that had begun when the run did, and were not closed; by the source's time only the strategy tells."""
    binding = job.pair.binding
    declared = binding.projection.partition
    if run.partitions != () or binding.cut_kind is None or declared.by != "time" or declared.watermark == "source":
        return []
    calendar = Calendar(declared, binding.cut_kind)
    return [
        {"partition": part.label, "closes": part.closes.isoformat()} for part in calendar.still_open(run.started_at)
    ]


def final_outcomes(outcomes: Iterable[OutcomeRow]) -> dict[tuple[Any, ...], OutcomeRow]:
    """The last word on each row: a row may have been tried more than once."""
    return {outcome.key: outcome for outcome in outcomes}


def drift_rows(
    job: Job, decisions: Sequence[DecisionRow], final: dict[tuple[Any, ...], OutcomeRow]
) -> list[dict[str, Any]]:
    """The listed rows, with sensitive values masked."""
    binding = job.pair.binding
    listed = []
    for item in decisions[: job.rows or None]:
        drift = item.decision.drift
        row = _listed(binding, drift)
        outcome = final.get(drift.key)
        if outcome is not None:
            row["outcome"] = str(outcome.outcome)
        elif item.decision.reason:
            row["reason"] = item.decision.reason
        listed.append(row)
    return listed


def quarantined_row(projection: Projection, row: Quarantined) -> dict[str, Any]:
    """One row in quarantine, as reports and lists show it."""
    return {
        "key": shown(projection.key, row.key),
        "trouble": str(row.trouble),
        "reason": row.reason,
        "since": row.first_seen.isoformat(),
        "attempts": row.attempts,
    }


def _causes(binding: Binding, drift: Sequence[Suspect]) -> list[dict[str, Any]]:
    """What they have in common, as plain values."""
    found = causes(
        drift, key=binding.projection.key, columns=binding.columns, hidden=binding.hidden, rules=binding.rules
    )
    return [asdict(cause) for cause in found]


def _listed(binding: Binding, drift: Suspect) -> dict[str, Any]:
    """One row as reports list it: its key, both pairs of values, and where they differ."""
    sensitive = binding.projection.sensitive
    return {
        "kind": str(drift.kind),
        "key": presented(binding.named_key(drift.key)),
        "expected": shown(binding.columns, drift.expected, sensitive),
        "observed": shown(binding.columns, drift.observed, sensitive),
        "columns": list(differing(drift, binding.columns, binding.rules)),
    }


def differing(drift: Suspect, columns: Sequence[str], rules: Rules = ()) -> tuple[str, ...]:
    """Columns in which the two rows differ; none where one of them is not there."""
    if drift.expected is None or drift.observed is None:
        return ()
    differ = unequal_columns(rules, drift.expected, drift.observed)
    return tuple(compress(columns, differ))


def presented(values: dict[str, object] | None) -> dict[str, Any] | None:
    """Named values as reports show them."""
    return None if values is None else {name: present(value) for name, value in values.items()}


def shown(names: Sequence[str], values: Values | None, sensitive: Sequence[str] = ()) -> dict[str, Any] | None:
    """Values with their names as reports show them, those of sensitive columns masked."""
    told = covered(values, [name in sensitive for name in names]) if sensitive else values
    return None if told is None else presented(dict(zip(names, told, strict=True)))
