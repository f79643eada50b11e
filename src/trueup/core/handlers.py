"""What is declared instead of a write: a function that is called, or a place where a correction is emitted."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from trueup.core.declared import Declared, Duration
from trueup.core.side import python_problem

#: What an entry can be made of, besides `key.X`, `expected.X`, `observed.X` and `difference.X`.
PARTS = ("id", "projection", "kind", "at", "body")
_OF_COLUMNS = ("key", "expected", "observed", "difference")
#: How long what was emitted may be on its way, where nothing is declared, seconds.
WITHIN_S = 600.0


class Handler(Declared):
    """A correction that is handed over instead of written."""

    #: A Python function that does what has to be done: `module:name`.
    call: str | None = None
    #: Name of a declared database, or broker, that gets the correction as an entry or message.
    emit: str | None = None
    #: Where in it: a table, a stream, a queue, a subject.
    to: str = ""
    #: Column of the table -> what goes there. Default: `id`, `projection`, `kind` and `body`, by these names.
    values: dict[str, str] = Field(default_factory=dict)
    #: How long it may take until the target shows it, seconds: so long it is not handed over again. Default: what is
    #: called has done it when it returns, what is emitted may take 10 minutes.
    within: Duration | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Handler:
        if (self.call is None) == (self.emit is None):
            raise ValueError("give either `call` or `emit`, one of them")
        if self.call is not None and (problem := python_problem(self.call)):
            raise ValueError(problem)
        if self.call is not None and (self.to or self.values):
            raise ValueError("`to` and `values` are about what is emitted")
        if self.emit is not None and not self.to:
            raise ValueError("`to` is missing: the table, stream, queue or subject that gets it")
        for part in self.values.values():
            of, _, column = part.partition(".")
            if part not in PARTS and (of not in _OF_COLUMNS or not column):
                known = ", ".join([*PARTS, *(f"{of}.COLUMN" for of in _OF_COLUMNS)])
                raise ValueError(f"`values`: {part!r} is nothing that a correction has; known: {known}")
        if self.values and "id" not in self.values.values():
            raise ValueError("`values`: some column has to get the `id`, which keeps an entry from being made twice")
        return self

    @property
    def within_s(self) -> float:
        if self.within is not None:
            return self.within
        return 0.0 if self.emit is None else WITHIN_S

    @property
    def name(self) -> str:
        """As people read it."""
        return f"call {self.call}" if self.call is not None else f"emit to {self.emit}: {self.to}"

    def problem(self, keys: Collection[str], columns: Collection[str]) -> str:
        """Which column that is named in `values` there is not; empty: none."""
        for part in self.values.values():
            of, _, column = part.partition(".")
            if column and column not in (keys if of == "key" else columns):
                return f"`values`: {part!r} names no {'part of the key' if of == 'key' else 'compared column'}"
        return ""


def _which(given: Any) -> str:
    return "handler" if isinstance(given, dict | Handler) else "word"


#: Tags of what a policy can be: a word, or a handler.
TAGS = ("word", "handler")
_Handler = Annotated[Handler, Tag("handler")]
OnMissing = Annotated[Annotated[Literal["insert", "report"], Tag("word")] | _Handler, Discriminator(_which)]
OnExtra = Annotated[
    Annotated[Literal["reset", "delete", "report"] | None, Tag("word")] | _Handler, Discriminator(_which)
]
OnDifferent = Annotated[Annotated[Literal["update", "delta", "report"], Tag("word")] | _Handler, Discriminator(_which)]
