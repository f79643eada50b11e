"""What the ledger knows of a run, put together into its report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from trueup.beside import beside
from trueup.core.binding import one_sided
from trueup.core.causes import Taken, causes_of
from trueup.core.compare import Counts, Suspect
from trueup.core.partition import Calendar
from trueup.core.quarantine import Quarantined
from trueup.core.states import Outcome, Verdict
from trueup.core.undo import DIFFERS
from trueup.report import IN_FLIGHT_ROWS, Report, as_texts, differing, members_of, quarantined_row, shown
from trueup.store.coverage import Coverage
from trueup.store.partitions import partitions_of
from trueup.store.records import DecisionRow, Narrowed, OutcomeRow, RunRow

if TYPE_CHECKING:
    from trueup.core.binding import Binding
    from trueup.core.guarantee import Promise
    from trueup.core.row import Key
    from trueup.job import Job
    from trueup.store.decided import Decided
    from trueup.store.plans import PlanRow

#: Rows among which common causes are sought, where many are kept together.
CAUSES_ROWS = 2_000


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
    cut = counts.differing > len(decisions) + accepted and job.one_look
    if cut:
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
        **_not_compared(binding, counts),
        passed_over=dict(counts.passed_over),
        segments={"planned": seen.planned, "done": seen.done},
        seconds=seconds,
        drift=drift_rows(job, listed, final),
        causes=_causes(job, run, listed, counts, sampled=cut or len(listed) < len(decisions)),
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


def _not_compared(binding: Binding, counts: Counts) -> dict[str, Any]:
    """Values that a NULL left uncompared, and columns that nobody chose and only one side has."""
    alone = {} if binding.projection.columns else one_sided(binding)
    return {"not_compared": dict(counts.not_compared), "one_sided": alone}


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


def _causes(
    job: Job, run: RunRow, listed: Sequence[DecisionRow], counts: Counts, *, sampled: bool
) -> list[dict[str, Any]]:
    """What they have in common, as plain values. Databases are asked besides by who read everything and wrote nothing:
    what was written tells no more who had written it before, and has changed how many of all rows are where. Rows of a
    backfill did not go wrong.
    """
    binding, drift = job.pair.binding, [item.decision.drift for item in listed]
    asks = run.whole and not (job.writes or sampled or binding.projection.itself)
    besides = beside(job.pair, drift, max(counts.source_rows, counts.target_rows) if asks else None)
    taken = Taken.FIRST if sampled else Taken.ALL
    return causes_of(binding, drift, taken=taken, beside=besides.known(), ask=besides.ask)


def _listed(binding: Binding, drift: Suspect) -> dict[str, Any]:
    """One row as reports list it: its key, both pairs of values, and where they differ."""
    sensitive, told = binding.projection.sensitive, as_texts(members_of(binding), drift)
    return {
        "kind": str(drift.kind),
        "key": shown(binding.projection.key, drift.key),
        "expected": shown(binding.columns, told.expected, sensitive),
        "observed": shown(binding.columns, told.observed, sensitive),
        "columns": list(differing(drift, binding.columns, binding.rules)),
    }
