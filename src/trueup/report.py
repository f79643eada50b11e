"""What a run answers. The fields of `to_dict` are a contract with users; new ones may be added."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import TYPE_CHECKING, Any

from trueup.core.compare import covered
from trueup.core.row import named_parts, present
from trueup.core.rules import differing as unequal_columns
from trueup.core.states import EXIT_CODES, Verdict
from trueup.core.values import Json

if TYPE_CHECKING:
    from trueup.core.binding import Binding
    from trueup.core.compare import Suspect
    from trueup.core.projection import Projection
    from trueup.core.quarantine import Quarantined
    from trueup.core.row import Key, Value, Values
    from trueup.core.rules import Rules

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
    "one_sided",
)
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
    #: Where nobody chose the columns: those that only one side has, by side. They are not compared.
    one_sided: dict[str, list[str]] = field(default_factory=dict)
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


def quarantined_row(projection: Projection, row: Quarantined) -> dict[str, Any]:
    """One row in quarantine, as reports and lists show it."""
    return {
        "key": shown_key(projection.key, row.key),
        "trouble": str(row.trouble),
        "reason": row.reason,
        "since": row.first_seen.isoformat(),
        "attempts": row.attempts,
    }


def differing(drift: Suspect, columns: Sequence[str], rules: Rules = ()) -> tuple[str, ...]:
    """Columns in which the two rows differ; none where one of them is not there."""
    if drift.expected is None or drift.observed is None:
        return ()
    differ = unequal_columns(rules, drift.expected, drift.observed)
    return tuple(compress(columns, differ))


def members_of(binding: Binding) -> list[bool]:
    """For each compared column: is it a member of two JSON files? Empty where none is."""
    columns = zip(binding.source.values, binding.target.values, strict=False)  # the flag of a tombstone is behind them
    members = [source.members and target.members for source, target in columns]
    return members if any(members) else []


def as_texts(members: Sequence[bool], seen: Suspect) -> Suspect:
    """A difference as it is shown: members of two JSON files as texts, a string without its quotes, unless that would
    show two different values alike (`1` and `"1"`). `members`: see `members_of`.
    """
    if not members:
        return seen
    nothing = (None,) * len(members)
    pairs = [
        _texts(one, other) if member else (one, other)
        for member, one, other in zip(members, seen.expected or nothing, seen.observed or nothing, strict=True)
    ]
    expected, observed = (tuple(pair[at] for pair in pairs) for at in (0, 1))
    return replace(seen, expected=seen.expected and expected, observed=seen.observed and observed)


def _texts(one: Value, other: Value) -> tuple[Value, Value]:
    pair = _text(one), _text(other)
    return (one, other) if pair[0] == pair[1] and one != other else pair


def _text(value: Value) -> Value:
    if not isinstance(value, Json):
        return value
    return value.scalar if isinstance(value.scalar, str) else value.text


def shown(names: Sequence[str], values: Values | None, sensitive: Sequence[str] = ()) -> dict[str, Any] | None:
    """Values with their names as reports show them, those of sensitive columns masked."""
    told = covered(values, [name in sensitive for name in names]) if sensitive else values
    return None if told is None else dict(zip(names, map(present, told), strict=True))


def shown_key(names: Sequence[str], key: Key) -> dict[str, Any]:
    """A key that was read at some time, by the names of its parts as they are declared now."""
    return {name: present(part) for name, part in named_parts(names, key).items()}
