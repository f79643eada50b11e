"""One repair unit in Redis: watch, read, and write all of it with its marker by one EXEC, or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError

from trueup.adapters import RowOutcome, Unit
from trueup.adapters._documents import held
from trueup.adapters._outcomes import HeldRow, outcome_to_json
from trueup.adapters._redis_layout import OURS, Command, Layout
from trueup.adapters._redis_rows import fetched, shown
from trueup.adapters._redis_session import Session
from trueup.core.binding import Binding
from trueup.core.kinds import Kind
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.core.text import understood
from trueup.errors import Refused, TakenOver

Answers = Mapping[Key, Sequence[Any]]


class RedisUnit:
    """One repair unit: one EXEC, which writes all of its rows and its marker, or nothing."""

    def __init__(self, session: Session, layout: Layout, binding: Binding, unit: Unit, *, markers: bool) -> None:
        self._session = session
        self._binding = binding
        self._unit = unit
        self._markers = markers
        self._layout = layout
        self._seen: dict[Key, HeldRow] = {}

    def read(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        self.hold(dict.fromkeys(self._layout.name_of(key)[0] for key in keys))
        self._seen = self.rows(keys)
        return self._seen

    def hold(self, names: Iterable[bytes]) -> None:
        """Watch these keys, the fence and the marker: from here on, who touches one of them makes `commit` do nothing.

        Raises Refused or TakenOver where the fence forbids the unit.
        """
        ours = [fence_key(self._unit.fence), marker_key(self._unit.id)] if self._markers else []
        if watched := [*ours, *names]:
            self._session.ask("WATCH", *watched)
        if self._markers:
            self._hold_fence()

    def rows(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        """The rows of these keys as they are now."""
        return held(self._binding, fetched(self._session, self._layout, keys, tokens=True))

    def generations(self, keys: Sequence[Key]) -> dict[Key, int]:
        """The generations that count now, of those keys that have one."""
        answers = self._session.send([self._layout.generation_of(key) for key in keys])
        told = {key: answer[0] for key, answer in zip(keys, answers, strict=True) if isinstance(answer, list)}
        found = {key: understood(Kind.INTEGER, number) for key, number in told.items()}
        return {key: number for key, number in found.items() if isinstance(number, int)}

    def _hold_fence(self) -> None:
        fence = self._unit.fence
        token, stop = self._session.ask("HMGET", fence_key(fence), "token", "stop")
        if stop == b"1":
            raise Refused(f"{fence}: stopped by `trueup stop`; nothing more is written until `trueup resume`")
        if token is None:
            gone = shown(fence_key(fence))
            raise TakenOver(f"{fence}: its key {gone} is gone (FLUSHDB?); nothing more is written, run again")
        if int(token) != self._unit.token or self._session.ask("EXISTS", marker_key(self._unit.id)):
            raise TakenOver(f"{fence}: another run has taken over; this one writes no more")

    def write(self, rows: Sequence[RowOutcome]) -> list[RowOutcome]:
        buried = self._buried(rows) if self._unit.restore and self._layout.version else []
        lost = {row.key for row in buried}
        rows = [row for row in rows if row.key not in lost]
        if not rows:
            return buried
        answers = self.commit(rows, {row.key: self._commands(row) for row in rows})
        written = self._moved(rows) if answers is None else [judged(row, answers[row.key]) for row in rows]
        return [*buried, *written]

    def _commands(self, row: RowOutcome) -> list[Command]:
        """What gives a row its values. One of nothing but NULL is there while its hash has other fields."""
        if row.before and row.after and not any(value is not None for value in row.after):
            others = self._session.ask(*self._layout.fields_of(row.key)) if self._layout.of_fields else 0
            if others > sum(value is not None for value in row.before):
                return [self._layout.emptying(row.key)]
        return self._layout.writing(row.key, row.after)

    def _buried(self, rows: Sequence[RowOutcome]) -> list[RowOutcome]:
        """Rows that a rollback would bring back, and that are under another tombstone than the run left: they were
        deleted again since. To be asked while their keys are watched.
        """
        back = [row for row in rows if row.before is None and row.after is not None]
        answers = self._session.send([self._layout.version_of(row.key) for row in back])
        return [
            RowOutcome(key=row.key, outcome=Outcome.CAS_LOST, evidence="it was deleted again since, by a newer version")
            for row, answer in zip(back, answers, strict=True)
            if answer != self._layout.version_in(row.key, row.after or ())
        ]

    def commit(self, rows: Sequence[RowOutcome], commands: Mapping[Key, Sequence[Command]]) -> Answers | None:
        """Carry out the commands of these rows and leave the marker: the answers by row, which may be errors.

        None if nothing was done because a watched key was touched.
        """
        images = json.dumps([outcome_to_json(row) for row in rows])
        marker: list[Command] = [("SET", marker_key(self._unit.id), images)] if self._markers else []
        sent = [command for row in rows for command in commands[row.key]]
        answers = answered(self._session, self._session.send([("MULTI",), *marker, *sent, ("EXEC",)]))
        if answers is None:
            return None
        rest = iter(answers[len(marker) :])
        return {row.key: [next(rest) for _ in commands[row.key]] for row in rows}

    def _moved(self, rows: Sequence[RowOutcome]) -> list[RowOutcome]:
        """Nothing was written, for somebody touched a watched key: the rows that it was. Others are tried again."""
        now = self.rows([row.key for row in rows])
        moved = [row for row in rows if now.get(row.key) != self._seen.get(row.key)]
        return [
            RowOutcome(
                key=row.key,
                outcome=Outcome.CAS_LOST,
                before=row.before,
                evidence="somebody wrote it while the source was read",
                busy=True,
            )
            for row in moved
        ]


def answered(session: Session, told: Sequence[Any]) -> Any:
    """The answers of a transaction, of all that was answered; None if it did nothing because a watched key was touched.

    A command that is refused when it is queued says why, and EXEC only that there was one.
    """
    *queued, done = told
    if isinstance(done, RedisError):
        raise session.translated(next((answer for answer in queued if isinstance(answer, RedisError)), done))
    return done


def judged(row: RowOutcome, answers: Sequence[Any]) -> RowOutcome:
    """A row of a transaction that was carried out: Redis carries out the others where one command fails."""
    refused = next((answer for answer in answers if isinstance(answer, RedisError)), None)
    if refused is None:
        return row
    return RowOutcome(key=row.key, outcome=Outcome.FAILED, before=row.before, evidence=str(refused))


def fence_key(fence: str) -> bytes:
    return OURS + b"fence:" + fence.encode()


def marker_key(unit: str) -> bytes:
    return OURS + b"applied:" + unit.encode()
