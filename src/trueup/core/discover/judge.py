"""Figures in, proposals out: what fits, what is drift, and what was a wrong guess."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from trueup.core.discover.ideas import ZERO, Idea, Kind, Strength

#: Of the rows that say anything, this share has to agree; the less the names say, the more.
FITS = {Strength.STRONG: 0.5, Strength.MEDIUM: 0.75, Strength.WEAK: 0.9}
#: So many rows have to say anything.
ROWS = {Strength.STRONG: 1, Strength.MEDIUM: 5, Strength.WEAK: 10}
#: Weak ideas of counts need a count of at least this: 0 and 1 agree by chance.
VARIETY = 3
#: Another idea is told of where it has at most so many times the wrong rows.
CLOSE = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """One idea against the data."""

    #: Rows that were compared.
    rows: int
    wrong: int
    #: Rows that say anything: not 0 on both sides.
    telling: int
    #: Least and greatest expected value differ.
    varied: bool
    #: How far all rows are off, where they can be off by more or less; else how many are.
    off: float = 0.0
    #: The greatest expected value is a number of at least VARIETY.
    many: bool = False

    @property
    def fit(self) -> float:
        return 1 - self.wrong / self.telling if self.telling else 0.0


class Verdict(StrEnum):
    RIGHT = "right"
    DRIFT = "drift"
    #: Most rows differ: the idea is wrong, not the data.
    WRONG_GUESS = "wrong guess"
    #: No row says anything.
    NO_EVIDENCE = "no evidence"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """An idea and what the data said."""

    idea: Idea
    figures: Figures


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """What a column is thought to be derived from."""

    idea: Idea
    figures: Figures
    verdict: Verdict
    #: The next best, where it is close.
    runner_up: Tried | None = None
    #: The rows are a part of the table only; how they were chosen.
    sample: str = ""
    reasons: tuple[str, ...] = field(default=())

    @property
    def column(self) -> str:
        return f"{self.idea.table}.{self.idea.column}"

    @property
    def confidence(self) -> str:
        """`high`, `medium` or `low`, by what the names say and how well the rows agree."""
        if self.verdict is Verdict.NO_EVIDENCE:
            return "low"
        told = self.figures.fit >= 0.8 and self.figures.telling >= 20 and self.figures.varied
        if told and (self.idea.strength is Strength.STRONG or self.figures.fit >= 0.95):
            return "high"
        return "medium" if self.figures.fit >= 0.7 and self.figures.telling >= 5 else "low"


def accepted(tried: Tried) -> bool:
    """Do names and rows together say that it is so?"""
    idea, figures = tried.idea, tried.figures
    strength = idea.strength
    if figures.telling < ROWS[strength] or figures.fit < FITS[strength]:
        return False
    if not figures.varied and (strength is not Strength.STRONG or figures.telling < 5) and idea.kind is not Kind.EXISTS:
        return False
    return not (strength is Strength.WEAK and idea.kind in ZERO and not figures.many)


def worth_conditions(tried: Tried) -> bool:
    """May conditions on the rows make it fit? Where the names say nothing, some condition always would."""
    idea, figures = tried.idea, tried.figures
    conditional = idea.kind not in (Kind.COPY, Kind.PARTS, Kind.PRODUCT)
    return conditional and figures.wrong > 0 and idea.strength > Strength.WEAK


def better(tried: Iterable[Tried]) -> list[Tried]:
    """Ideas about one column, the best first.

    Among those that are about as good as the best, the names decide, then the fewer wrong rows, then the simpler idea.
    """
    found = list(tried)
    least = min((t.figures.wrong / max(t.figures.telling, 1) for t in found if t.figures.telling), default=1.0)

    def order(t: Tried) -> tuple[object, ...]:
        share = t.figures.wrong / t.figures.telling if t.figures.telling else 1.0
        return (share > least * 1.05 + 0.002, -t.idea.strength, t.figures.wrong, t.idea.complexity, t.idea.formula)

    return sorted(found, key=order)


def judge(tried: Sequence[Tried], *, sample: str = "") -> Proposal | None:
    """The proposal for one column; None: nothing speaks for any of the ideas."""
    fitting = better(t for t in tried if accepted(t))
    if fitting:
        best = fitting[0]
        wrong = best.figures.wrong
        close = [
            t
            for t in fitting[1:]
            if not _narrower(t.idea, best.idea) and t.figures.wrong <= max(CLOSE * wrong, wrong + 2)
        ]
        return Proposal(
            idea=best.idea,
            figures=best.figures,
            verdict=Verdict.DRIFT if wrong else Verdict.RIGHT,
            runner_up=close[0] if close else None,
            sample=sample,
            reasons=_reasons(best),
        )
    strong = [t for t in tried if t.idea.strength is Strength.STRONG]
    if not strong:
        return None
    best = better(strong)[0]
    said = best.figures.telling > 0
    return Proposal(
        idea=best.idea,
        figures=best.figures,
        verdict=Verdict.WRONG_GUESS if said else Verdict.NO_EVIDENCE,
        sample=sample,
        reasons=_reasons(best),
    )


def _narrower(idea: Idea, best: Idea) -> bool:
    """Is it the best idea again, with conditions that change nothing?"""
    same = (idea.kind, idea.path, idea.measure, idea.offset) == (best.kind, best.path, best.measure, best.offset)
    return same and set(best.filters) <= set(idea.filters)


def _reasons(tried: Tried) -> tuple[str, ...]:
    idea, figures = tried.idea, tried.figures
    found = [idea.why]
    if idea.path is not None:
        found += [reference.words for reference in idea.path.references]
    if figures.telling:
        found.append(f"{figures.telling - figures.wrong:,} of {figures.telling:,} rows that say anything agree")
    else:
        found.append("no row says anything: both sides are empty or 0")
    return tuple(found)
