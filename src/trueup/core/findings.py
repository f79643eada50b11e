"""What was found out about the databases behind a projection, and how it caps what a repair may promise.

`core.guarantee` says what topology and declared writers allow *by design*. Here that is held against what was seen:
settings, privileges and schema (`Finding`), and a race that was run on the user's own server (`Race`). A class is only
ever lowered; nothing that was found raises it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from trueup.core.guarantee import Guarantee, Promise, Proof, Protocol


class State(StrEnum):
    """What one check found, from best to worst."""

    OK = "ok"
    #: Something should be changed; what is promised stands.
    WARN = "warn"
    #: It could not be found out, or a privilege is missing: never a pass.
    NOT_AVAILABLE = "not available"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One fact that a protocol depends on, as it was seen."""

    #: What was looked at: `unique key`, `triggers`, `journal`.
    check: str
    state: State
    #: What was seen, in the database's own words.
    seen: str
    #: Why it matters to a repair; empty where all is well.
    why: str = ""
    #: What to do: the exact statement or setting.
    remedy: str = ""
    #: The most that may be promised while this is so; None: whatever the design allows.
    cap: Guarantee | None = None
    #: Where: `databases.app`, `projections.likes.target`. Given by who asks.
    place: str = ""


def fact(check: str, well: bool, seen: str, *, why: str, remedy: str, cap: Guarantee | None = None) -> Finding:
    """A finding that is well, or is not: then it is a warning, or a failure where it caps the class."""
    if well:
        return Finding(check=check, state=State.OK, seen=seen)
    bad = State.WARN if cap is None else State.FAIL
    return Finding(check=check, state=bad, seen=seen, why=why, remedy=remedy, cap=cap)


@dataclass(frozen=True, kw_only=True, slots=True)
class Race:
    """Writers let in at every step of a repair on scratch tables, and of the repair that people write by hand."""

    protocol: Protocol
    one_database: bool
    proof: Proof
    #: What happened, as sentences.
    told: tuple[str, ...]
    #: Interleavings of the safe repair and of the naive one, and how many of each ended wrong.
    trials: int = 0
    wrong: int = 0
    naive_trials: int = 0
    naive_wrong: int = 0
    seconds: float = 0.0


def raced(
    protocol: Protocol,
    *,
    one_database: bool,
    safe: Sequence[str],
    trials: int,
    naive: Sequence[str],
    naive_trials: int,
    seconds: float,
) -> Race:
    """What a race proves. `safe`, `naive`: of the interleavings that ended wrong, where the writer was let in.

    The naive repair is the positive control: where it cannot be made to go wrong, the race was none, and that the safe
    one held proves nothing.
    """
    if safe:
        proof = Proof.BROKEN
        told = [f"the repair by {protocol} was WRONG in {len(safe)} of {trials} interleavings: {'; '.join(safe)}"]
    elif not naive or not trials:
        proof = Proof.INCONCLUSIVE
        told = ["the naive repair could not be made to go wrong here, so nothing is proven by the safe one holding"]
    else:
        proof = Proof.HELD
        told = [
            f"the repair by {protocol} held in {trials} interleavings with a writer",
            f"the naive repair went wrong in {len(naive)} of {naive_trials}: {naive[0]}",
        ]
    return Race(
        protocol=protocol,
        one_database=one_database,
        proof=proof,
        told=tuple(told),
        trials=trials,
        wrong=len(safe),
        naive_trials=naive_trials,
        naive_wrong=len(naive),
        seconds=seconds,
    )


def lesser(one: Guarantee, other: Guarantee) -> Guarantee:
    """The weaker of two classes; they are declared from strongest to weakest."""
    order = list(Guarantee)
    return max(one, other, key=order.index)


def capped(promise: Promise, findings: Iterable[Finding], race: Race | None = None) -> Promise:
    """`promise` as far as what was found lets it stand, with every reason.

    A race under another protocol or topology says nothing about this one.
    """
    found = promise
    for finding in findings:
        if finding.cap is not None and lesser(promise.guarantee, finding.cap) != promise.guarantee:
            lowered = _lowered(found, lesser(found.guarantee, finding.cap))
            found = replace(lowered, reasons=(*found.reasons, sentence(finding)))
    if race is None or race.protocol is not promise.protocol or promise.protocol is Protocol.NONE:
        return found
    if race.proof is Proof.BROKEN:
        found = _lowered(found, Guarantee.REPORT_ONLY)
    return replace(found, proof=race.proof, reasons=(*found.reasons, *race.told))


def sentence(finding: Finding) -> str:
    """Where, what, why and what to do, on one line."""
    parts = [finding.place, finding.check, finding.seen, finding.why]
    return ": ".join(part for part in parts if part) + (f". To do: {finding.remedy}" if finding.remedy else "")


def _lowered(promise: Promise, cap: Guarantee) -> Promise:
    if cap is promise.guarantee:
        return promise
    if cap is Guarantee.REPORT_ONLY:
        return replace(promise, guarantee=cap, protocol=Protocol.NONE, delta=False, bound_s=None)
    return replace(promise, guarantee=cap, bound_s=None)


def worst(findings: Iterable[Finding]) -> State:
    """The state that decides; OK where there is nothing."""
    order = list(State)
    return max((finding.state for finding in findings), key=order.index, default=State.OK)


def to_json(finding: Finding) -> dict[str, Any]:
    """A finding as plain values, without what it does not have."""
    told = {name: value for name, value in asdict(finding).items() if value not in ("", None)}
    return {name: str(value) for name, value in told.items()}


def from_json(told: dict[str, Any]) -> Finding:
    """The inverse of `to_json`."""
    cap = told.get("cap")
    return Finding(**{**told, "state": State(told["state"]), "cap": None if cap is None else Guarantee(cap)})
