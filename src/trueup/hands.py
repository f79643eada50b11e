"""What is called instead of writing: functions by the kind of difference, and for whom they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from trueup.core.decide import Action
from trueup.core.handlers import Handler
from trueup.python.handlers import Call


@dataclass(frozen=True, kw_only=True, slots=True)
class Hand:
    """One declared handler, and what carries it out."""

    declared: Handler
    do: Callable[[Call], object]

    @property
    def action(self) -> Action:
        return Action.CALL if self.declared.emit is None else Action.EMIT


@dataclass(frozen=True, kw_only=True, slots=True)
class Hands:
    """The handlers of a run."""

    by_kind: Mapping[str, Hand] = field(default_factory=dict)
    #: The plan that is carried out; "": none.
    plan: str = ""
    #: Who asked for the run, and who approved its plan.
    actor: str = ""
    approved_by: tuple[str, ...] = ()
