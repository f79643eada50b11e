"""What a run answers. The fields of `to_dict` are a contract with users; new ones may be added."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from trueup.core.causes import causes
from trueup.core.compare import Suspect, covered
from trueup.core.partition import Calendar
from trueup.core.row import present
from trueup.core.rules import Rules
from trueup.core.rules import differing as unequal_columns
from trueup.core.states import EXIT_CODES, Outcome, Verdict
from trueup.store.partitions import partitions_of
from trueup.store.records import DecisionRow, Narrowed, OutcomeRow, RunRow

if TYPE_CHECKING:
    from trueup.core.binding import Binding
    from trueup.core.row import Values
    from trueup.job import Job
    from trueup.store.standing import PlanRow


#: Rows in flight that a report lists.
IN_FLIGHT_ROWS = 100


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
    #: At most as many as were asked for; the counts above are complete.
    drift: list[dict[str, Any]] = field(default_factory=list)
    #: The first 100 of `in_flight`, as they were at the last look; of a resumed run, those seen since.
    in_flight_rows: list[dict[str, Any]] = field(default_factory=list)
    #: What the drifting rows have in common, most rows first: sentence, kind, rows, share.
    causes: list[dict[str, Any]] = field(default_factory=list)
    #: Rows by column in which one side has a NULL that is declared to be unknown, so that nothing was compared there.
    not_compared: dict[str, int] = field(default_factory=dict)
    #: Partitions, those with most drift first, at most as many as rows were asked for; empty where none are declared.
    partitions: list[dict[str, Any]] = field(default_factory=list)
    #: Buckets of time that had begun and were not compared yet, and when each can be.
    open_partitions: list[dict[str, Any]] = field(default_factory=list)
    plan: str = ""
    plan_hash: str = ""
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
        data |= {"accepted": 0, "quarantined": 0}
        for optional in ("plan", "plan_hash", "reason", "partitions", "open_partitions"):
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
    decisions: Sequence[DecisionRow],
    left: Sequence[tuple[Suspect, str]],
    seen: Narrowed,
    in_flight: int,
    moving: Sequence[Suspect],
    seconds: float,
    plan: PlanRow | None,
    resumed: bool,
) -> Report:
    """Put the ledger's figures of a run together."""
    binding = job.pair.binding
    counts = seen.counts
    tallies = job.ledger.tallies(run.id)
    outcomes = job.ledger.outcomes(run.id)
    kinds = Counter(str(item.decision.drift.kind) for item in decisions)
    by_column: Counter[str] = Counter()
    for item in decisions:
        drift = item.decision.drift
        if drift.kind == "different":
            by_column.update(differing(drift, binding.columns, binding.rules))
    if counts.differing > len(decisions) and job.one_look:
        # More than were handed out: the database's own counts are complete, and one look was proof.
        kinds.update(missing=counts.missing - kinds["missing"], extra=counts.extra - kinds["extra"])
        kinds.update(different=counts.different - kinds["different"])
        by_column = Counter(counts.different_by_column)
    final = final_outcomes(outcomes)
    still_wrong = {suspect.key for suspect, _ in left}
    return Report(
        projection=job.name,
        run=run.id,
        command=job.command,
        verdict=verdict,
        reason=reason,
        guarantee=str(job.promise.guarantee),
        strategy=run.strategy,
        source_rows=counts.source_rows,
        target_rows=counts.target_rows,
        missing=kinds["missing"],
        extra=kinds["extra"],
        different=kinds["different"],
        different_by_column={name: count for name, count in by_column.items() if count},
        in_flight=tallies.get("in_flight", 0) + in_flight,
        resolved=tallies.get("resolved", 0),
        repaired=sum(o.outcome is Outcome.APPLIED and key not in still_wrong for key, o in final.items()),
        stepped_aside=sum(o.outcome in (Outcome.CAS_LOST, Outcome.SUPERSEDED) for o in final.values()),
        left=len(still_wrong),
        duplicate_keys={"source": counts.duplicate_keys_source, "target": counts.duplicate_keys_target},
        null_keys={"source": counts.null_keys_source, "target": counts.null_keys_target},
        not_compared=dict(counts.not_compared),
        segments={"planned": seen.planned, "done": seen.done},
        seconds=seconds,
        drift=drift_rows(job, decisions, final),
        causes=_causes(binding, [item.decision.drift for item in decisions]),
        in_flight_rows=[_listed(binding, suspect) for suspect in moving[:IN_FLIGHT_ROWS]],
        partitions=_partitions(job, run, decisions),
        open_partitions=_open_partitions(job, run),
        plan="" if plan is None else plan.id,
        plan_hash="" if plan is None else plan.hash,
        resumed=resumed,
    )


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
    """Buckets that had begun when the run did, and were not closed."""
    binding = job.pair.binding
    if run.partitions != () or binding.cut_kind is None or binding.projection.partition.by != "time":
        return []
    calendar = Calendar(binding.projection.partition, binding.cut_kind)
    return [
        {"partition": part.label, "closes": part.closes.isoformat()} for part in calendar.still_open(run.started_at)
    ]


def final_outcomes(outcomes: Sequence[OutcomeRow]) -> dict[tuple[Any, ...], OutcomeRow]:
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
    return tuple(name for name, differs in zip(columns, differ, strict=True) if differs)


def presented(values: dict[str, object] | None) -> dict[str, Any] | None:
    """Named values as reports show them."""
    return None if values is None else {name: present(value) for name, value in values.items()}


def shown(names: Sequence[str], values: Values | None, sensitive: Sequence[str] = ()) -> dict[str, Any] | None:
    """Values with their names as reports show them, those of sensitive columns masked."""
    told = covered(values, [name in sensitive for name in names])
    return None if told is None else presented(dict(zip(names, told, strict=True)))
