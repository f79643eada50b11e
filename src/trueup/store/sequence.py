"""The audit log as it is read: numbered, hashed into a tree, and summed up in heads.

Lines get their numbers in batches, by whoever holds the lock; a head is made of what the database gives back then, not
of what was meant to be written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from trueup.core.merkle import Tree, leaf_hash, resumed
from trueup.core.note import Head
from trueup.core.told import COMMITMENT, numbered
from trueup.errors import DesignProblem
from trueup.store import schema_audit as t
from trueup.store.coverage import AT_ONCE, batched
from trueup.store.ledger import Ledger
from trueup.store.records import certainly_utc, utc

#: Number of the advisory lock under which lines are numbered on PostgreSQL.
SEQUENCE_LOCK = 7_481_902_362
#: Lines that are read, or numbered, at a time.
BATCH = 1_000
#: What stands in a line for a text that is beside it.
_ASIDE = re.compile(r'"sha256":"([0-9a-f]{64})"')


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadRow:
    """What the log was at a size, as the ledger keeps it."""

    head: Head
    frontier: list[bytes]
    #: As it was exported.
    note: str
    at: datetime

    def tree(self) -> Tree:
        """The tree to go on from; raises DesignProblem if the frontier is not the one of the head's root."""
        try:
            tree = resumed(self.head.size, self.frontier)
        except ValueError as error:
            raise DesignProblem(f"the audit log's head {self.head.size} was changed: {error}") from None
        if tree.root() != self.head.root:
            raise DesignProblem(f"the audit log's head {self.head.size} was changed: its frontier gives another root")
        return tree


@dataclass(frozen=True, kw_only=True, slots=True)
class LogStanding:
    """How the log stands."""

    origin: str
    #: Lines before this one were pruned.
    first: int
    #: Numbered lines, pruned ones too.
    size: int
    #: Lines without a number, and since when the oldest has been waiting.
    staged: int
    oldest: datetime | None
    last: HeadRow | None


class Sequencer:
    """Numbers lines, makes heads, reads both."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    # --- numbering -------------------------------------------------------------------------------------------------

    def number(self) -> int:
        """Give the staged lines their numbers, in the order in which they were staged; how many."""
        done = 0
        while (some := self._number_some()) > 0:
            done += some
        return done

    def _number_some(self) -> int:
        with self.ledger.begin() as c:
            if c.execute(sa.select(t.audit.c.id).where(t.audit.c.seq.is_(None)).limit(1)).first() is None:
                return 0
            self._lock(c)
            waiting = sa.select(t.audit.c.id).where(t.audit.c.seq.is_(None)).order_by(t.audit.c.id).limit(BATCH)
            ids = list(c.execute(waiting).scalars())
            size = self._size(c)
            if ids:
                give = t.audit.update().where(t.audit.c.id == sa.bindparam("line_id")).values(seq=sa.bindparam("place"))
                c.execute(give, [{"line_id": line, "place": size + at} for at, line in enumerate(ids)])
        return len(ids)

    def _lock(self, c: sa.Connection) -> None:
        """One at a time; SQLite has one writer anyway."""
        if c.dialect.name == "postgresql":
            c.execute(sa.select(sa.func.pg_advisory_xact_lock(SEQUENCE_LOCK)))

    def _size(self, c: sa.Connection) -> int:
        last = c.execute(sa.select(sa.func.max(t.audit.c.seq))).scalar()
        return self._first(c) if last is None else int(last) + 1

    def _first(self, c: sa.Connection) -> int:
        return int(c.execute(sa.select(t.audit_log.c.first)).scalar() or 0)

    # --- heads -----------------------------------------------------------------------------------------------------

    def head(self, note: Callable[[Head], str], at: datetime) -> HeadRow | None:
        """A head of all numbered lines, made on the last one: only what was read again, and fits it, is signed.

        None if there is nothing new. Raises DesignProblem if the log is not what it was, or has a gap.
        """
        with self.ledger.begin() as c:
            self._lock(c)
            last = self.last(c)
            tree = Tree() if last is None else last.tree()
            before = tree.size
            for seq, line in self._lines(c, before):
                if seq != tree.size:
                    raise DesignProblem(f"the audit log has no line {tree.size}, but one of number {seq}")
                tree.append(leaf_hash(line))
            if tree.size == before:
                if self._size(c) < before:
                    raise DesignProblem(f"the audit log ends at {self._size(c)}, before its head {before}")
                return None
            made = Head(origin=self.ledger.audit.name(c), size=tree.size, root=tree.root())
            row = HeadRow(head=made, frontier=list(tree.frontier), note=note(made), at=at)
            frontier = b"".join(row.frontier).hex()
            c.execute(
                t.audit_heads.insert().values(
                    size=made.size, root=made.root.hex(), frontier=frontier, note=row.note, at=at
                )
            )
        return row

    def last(self, c: sa.Connection, before: datetime | None = None) -> HeadRow | None:
        """The newest head (that was made no later than `before`)."""
        statement = sa.select(t.audit_heads).order_by(t.audit_heads.c.size.desc()).limit(1)
        if before is not None:
            statement = statement.where(t.audit_heads.c.at <= before)
        row = c.execute(statement).one_or_none()
        return None if row is None else self._head_row(c, row)

    def head_of(self, size: int) -> HeadRow | None:
        """The head of exactly so many lines."""
        with self.ledger.reading() as c:
            row = c.execute(sa.select(t.audit_heads).where(t.audit_heads.c.size == size)).one_or_none()
            return None if row is None else self._head_row(c, row)

    def heads(self, above: int = 0, limit: int | None = None) -> list[HeadRow]:
        """Heads of more than `above` lines, the smallest first."""
        statement = sa.select(t.audit_heads).where(t.audit_heads.c.size > above).order_by(t.audit_heads.c.size)
        statement = statement.limit(limit)
        with self.ledger.reading() as c:
            return [self._head_row(c, row) for row in c.execute(statement).all()]

    def _head_row(self, c: sa.Connection, row: sa.Row[tuple[object, ...]]) -> HeadRow:
        raw = bytes.fromhex(str(row.frontier))
        return HeadRow(
            head=Head(origin=self.ledger.audit.name(c), size=row.size, root=bytes.fromhex(row.root)),
            frontier=[raw[at : at + 32] for at in range(0, len(raw), 32)],
            note=row.note,
            at=certainly_utc(row.at),
        )

    # --- reading ---------------------------------------------------------------------------------------------------

    def lines(self, start: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        """Numbered lines from `start` on, to before `end`, as they are hashed."""
        with self.ledger.reading() as c:
            yield from self._lines(c, start, end)

    def _lines(self, c: sa.Connection, start: int, end: int | None = None) -> Iterator[tuple[int, bytes]]:
        at = start
        while True:
            statement = sa.select(t.audit.c.seq, t.audit.c.line).where(t.audit.c.seq >= at)
            if end is not None:
                statement = statement.where(t.audit.c.seq < end)
            rows = c.execute(statement.order_by(t.audit.c.seq).limit(BATCH)).all()
            for row in rows:
                yield int(row.seq), numbered(int(row.seq), row.line)
            if len(rows) < BATCH:
                return
            at = int(rows[-1].seq) + 1

    def standing(self) -> LogStanding:
        """How the log stands, without reading it."""
        waiting = sa.select(sa.func.count(), sa.func.min(t.audit.c.at)).where(t.audit.c.seq.is_(None))
        with self.ledger.begin() as c:  # the log gets its name, where nothing was done yet
            staged, oldest = c.execute(waiting).one()
            return LogStanding(
                origin=self.ledger.audit.name(c),
                first=self._first(c),
                size=self._size(c),
                staged=int(staged),
                oldest=utc(oldest),
                last=self.last(c),
            )

    def pruned(self, head: Head) -> bool:
        """Would it be a head of this log from before the cut? Another node's file may end with one."""
        standing = self.standing()
        return head.origin == standing.origin and head.size < standing.first

    # --- retention -------------------------------------------------------------------------------------------------

    def prune(self, cut: HeadRow) -> int:
        """Delete the lines before a head, with what only they refer to; the head and its frontier stand for them. How
        many.
        """
        with self.ledger.begin() as c:
            self._lock(c)
            self._forget_salts(c, cut.head.size)
            c.execute(t.audit_log.update().values(first=cut.head.size))  # the triggers let go of what is before it
            gone = c.execute(t.audit.delete().where(t.audit.c.seq < cut.head.size)).rowcount
            c.execute(t.audit_heads.delete().where(t.audit_heads.c.size < cut.head.size))
            self._forget_aside(c)
        return gone

    def _forget_salts(self, c: sa.Connection, before: int) -> None:
        """What opens the commitments of lines that go: each is of one line only."""
        for some in self._batches(c, t.audit.c.seq < before):
            commitments = {found for line in some for found in COMMITMENT.findall(line)}
            for part in batched(sorted(commitments), AT_ONCE):  # of many lines there are more than one statement takes
                c.execute(t.audit_salts.delete().where(t.audit_salts.c.commitment.in_(part)))

    def _forget_aside(self, c: sa.Connection) -> None:
        """What was too long for lines that are all gone."""
        if c.execute(sa.select(t.audit_aside.c.sha256).limit(1)).first() is None:
            return
        told = {found for some in self._batches(c, sa.true()) for line in some for found in _ASIDE.findall(line)}
        kept = list(c.execute(sa.select(t.audit_aside.c.sha256)).scalars())
        for digest in set(kept) - told:
            c.execute(t.audit_aside.delete().where(t.audit_aside.c.sha256 == digest))

    def _batches(self, c: sa.Connection, which: sa.ColumnElement[bool]) -> Iterator[list[str]]:
        """Lines, a part at a time."""
        after = 0
        while True:
            some = sa.select(t.audit.c.id, t.audit.c.line).where(which, t.audit.c.id > after)
            rows = c.execute(some.order_by(t.audit.c.id).limit(BATCH)).all()
            yield [row.line for row in rows]
            if len(rows) < BATCH:
                return
            after = rows[-1].id
