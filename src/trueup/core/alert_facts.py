"""What is known of a projection or a database -> which rules of alerts hold now. No clock, no database, no values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from trueup.core.alert_rules import Rule, Rules
from trueup.core.alerts import Condition
from trueup.core.declared import spoken
from trueup.core.freshness import Freshness

#: What is new stays new for this long.
NEW_FOR = timedelta(hours=24)
#: A share of a handful of rows means nothing.
SHARE_FROM = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class RunFact:
    """One run that has ended."""

    id: str
    #: It was meant to write.
    writes: bool
    failed: bool
    #: The source's answer was not believed.
    collapsed: bool
    #: It has an answer about what it read.
    answered: bool
    #: Rows that it left wrong.
    left: int
    #: What its differences are like: kinds, columns, kinds of causes.
    kinds: frozenset[str] = frozenset()
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What is known of one projection."""

    name: str
    #: Newest first.
    runs: Sequence[RunFact]
    #: Rows known to be wrong, and rows that the source has.
    drift: int
    source_rows: int | None
    freshness: Freshness
    quarantined: int
    #: Plans that wait for an approval.
    plans: Sequence[str]


#: Rule -> what it has to remember.
Memories = Mapping[str, Mapping[str, Any]]


def conditions(facts: Facts, rules: Rules, memories: Memories, now: datetime, repeat_s: float) -> list[Condition]:
    """Where each rule stands with a projection; those that are switched off are left out."""
    name = facts.name
    found = [
        _drift(facts, rules),
        _new_drift(facts, memories.get("new_drift", {}), now),
        _failing(facts, rules),
        _collapsed(facts),
        _stale(facts, now),
        _grew(facts, memories.get("quarantine_grew", {}), now),
        Condition(
            rule="plan_waits",
            subject=name,
            active=bool(facts.plans),
            what=f"{len(facts.plans)} plans wait for an approval"
            if len(facts.plans) > 1
            else "a plan waits for approval",
            next=f"trueup show {facts.plans[0]}" if facts.plans else "",
        ),
    ]
    return _timed(found, rules, repeat_s)


def database_condition(name: str, rules: Rules, repeat_s: float, *, starving: str) -> list[Condition]:
    """`starving`: why a paced database grants the minimum at most though something works; empty: it does not."""
    what = f"pacing grants the minimum at most: {starving}"
    found = Condition(
        rule="starving", subject=f"database {name}", active=bool(starving), what=what, next=f"trueup pace {name}"
    )
    return _timed([found], rules, repeat_s)


def audit_condition(rules: Rules, repeat_s: float, *, lines: int, oldest_s: float) -> list[Condition]:
    """`lines` of the audit log wait for their number, the oldest for `oldest_s`."""
    what = f"{lines} lines of the audit log have no number yet"
    late = lines > 0 and oldest_s >= rules.unsequenced.after
    found = Condition(rule="unsequenced", subject="audit log", active=late, what=what, next="trueup audit sequence")
    timed = _timed([found], rules, repeat_s)
    return [replace(each, after_s=0.0) for each in timed]  # how long they wait is known


def _timed(found: Sequence[Condition], rules: Rules, repeat_s: float) -> list[Condition]:
    timed = []
    for each in found:
        rule: Rule = getattr(rules, each.rule)
        if rule.on:
            repeat = repeat_s if rule.repeat is None else rule.repeat
            timed.append(replace(each, after_s=max(rule.after, each.after_s), repeat_s=repeat))
    return timed


def _drift(facts: Facts, rules: Rules) -> Condition:
    rule, rows = rules.drift, facts.drift
    share = rows / facts.source_rows if facts.source_rows else 0.0
    active = rows > rule.rows or (rows >= SHARE_FROM and share > rule.share)
    of = f" ({share:.2%} of {facts.source_rows:,})" if facts.source_rows else ""
    what = f"{rows:,} rows are known to be wrong{of}"
    return Condition(rule="drift", subject=facts.name, active=active, what=what, next=f"trueup drift {facts.name}")


def _new_drift(facts: Facts, memory: Mapping[str, Any], now: datetime) -> Condition:
    """A first look at a projection takes what its earlier runs showed as known."""
    answered = [run for run in facts.runs if run.answered]
    last = answered[0].kinds if answered else frozenset()
    known: dict[str, str] = dict(memory.get("known", {}))
    if "known" not in memory:
        before = answered[1:] or answered
        known = dict.fromkeys(sorted(kind for run in before for kind in run.kinds), "")
    known |= {kind: now.isoformat() for kind in sorted(last) if kind not in known}
    new = [kind for kind in sorted(last) if known[kind] and now - datetime.fromisoformat(known[kind]) < NEW_FOR]
    return Condition(
        rule="new_drift",
        subject=facts.name,
        active=bool(new),
        what=f"a kind of drift that was not there before: {', '.join(new)}",
        next=f"trueup drift {facts.name}",
        memory={"known": known} if answered else {},
    )


def _failing(facts: Facts, rules: Rules) -> Condition:
    writing = [run for run in facts.runs if run.writes][: rules.repair_failing.runs]
    active = len(writing) == rules.repair_failing.runs and all(run.failed or run.left for run in writing)
    what, last = "", writing[0] if writing else None
    if last is not None:
        what = f"{len(writing)} runs in a row did not repair what they found; the last left {last.left:,} rows wrong"
        if last.failed:
            what = f"{len(writing)} runs in a row did not end well; `trueup runs` says why"
    return Condition(
        rule="repair_failing", subject=facts.name, active=active, what=what, next=f"trueup runs {facts.name}"
    )


def _collapsed(facts: Facts) -> Condition:
    last = facts.runs[0] if facts.runs else None
    active = last is not None and last.collapsed
    what = f"the source was not believed, and nothing was written: {last.reason}" if last is not None and active else ""
    return Condition(
        rule="source_collapsed", subject=facts.name, active=active, what=what, next=f"trueup check {facts.name}"
    )


def _stale(facts: Facts, now: datetime) -> Condition:
    fresh = facts.freshness
    age, late = fresh.age_s(now), fresh.late_s(now)
    if fresh.fresh is None:
        active, what = False, ""
    elif age is None:  # it counts from when somebody first looked
        active, what = True, "no run has verified all of it yet"
    else:
        active, what = (
            bool(late),
            f"the oldest part was verified {spoken(age)} ago, not within {spoken(fresh.fresh)}",
        )
    return Condition(
        rule="stale",
        subject=facts.name,
        active=active,
        what=what,
        next=f"trueup status {facts.name}",
        after_s=fresh.fresh or 0.0 if age is None else 0.0,
    )


def _grew(facts: Facts, memory: Mapping[str, Any], now: datetime) -> Condition:
    count = facts.quarantined
    base, grew = memory.get("base", count), memory.get("grew")
    if count <= base or (grew and now - datetime.fromisoformat(grew) >= NEW_FOR):
        base, grew = count, None
    active = count > base
    return Condition(
        rule="quarantine_grew",
        subject=facts.name,
        active=active,
        what=f"{count:,} rows are in quarantine, {count - base:,} more than before",
        next=f"trueup quarantine list {facts.name}",
        memory={"base": base, "grew": (grew or now.isoformat()) if active else None},
    )
