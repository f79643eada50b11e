"""How the application writes a projection, as declared, and what a repair needs to know to be safe with it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from trueup.core.declared import Declared


class Writers(StrEnum):
    """How the application keeps the projection up to date; decides which repair is safe (`core.guarantee`)."""

    #: The source change and the projection change commit together, and the writer touches the projection's row.
    SAME_TRANSACTION = "same_transaction"
    #: As above, but the row serves as a mutex: it is locked, and not always changed.
    MUTEX = "mutex"
    #: The source change commits with an outbox row; a worker applies increments later (see `Pending`).
    OUTBOX = "outbox"
    #: Absolute values with a version that the source issues; a store applies them only if newer.
    VERSIONED = "versioned"
    #: Absolute values without a version: a pipeline, a change-data-capture upsert, a cache fill.
    ABSOLUTE = "absolute"
    #: The source is committed first, an absolute value is written to the projection afterwards.
    DUAL_WRITE = "dual_write"
    #: Increments are sent to the projection in a transaction of their own (see `Events`).
    INCREMENTS = "increments"


class Tombstone(Declared):
    """A deleted row is kept, with the version of its deletion, so that nothing older can bring it back."""

    #: Boolean (or 0/1) column of the target, and of the source where it keeps its deleted rows too.
    column: str


class Pending(Declared):
    """Where the outbox is: increments that are committed in the source and not yet applied to the target."""

    #: Table with one row an event; the deltas of a key are summed.
    table: str | None = None
    #: One SELECT with the key and a delta for each compared column.
    query: str | None = None
    #: Name used in the projection -> name there, where they differ.
    columns: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_of(self) -> Pending:
        if (self.table is None) == (self.query is None):
            raise ValueError("give either `table` or `query`: where the increments wait that are not applied yet")
        return self


class Events(Declared):
    """When each change of the source happened; deletions too."""

    #: Table of the source's database with one row an event.
    table: str
    #: Column with the time of the event, written by the source's clock.
    column: str
    #: Name of a key column in the projection -> name in `table`, where they differ.
    columns: dict[str, str] = Field(default_factory=dict)
    #: Zone of `column`, where its type has none.
    zone: str = ""
