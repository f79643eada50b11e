"""Reading rows out of Redis: the names of a pattern, page by page to their end, and what the keys hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import RedisError

from trueup.adapters._redis_layout import OURS, Layout
from trueup.adapters._redis_session import Session
from trueup.adapters._sorting import Row
from trueup.core.row import Key
from trueup.core.text import Pattern
from trueup.errors import DataProblem, DesignProblem

#: Keys that one step of a scan looks at.
SCAN_COUNT = 1_000
#: Keys that are no rows, named in a message at most.
NAMED = 5


class Odd:
    """Keys that match a pattern and are no rows of it: found while scanning, told at the end."""

    def __init__(self, where: str, layout: Layout) -> None:
        self._where = where
        self._layout = layout
        self._count = 0
        self._named: list[str] = []

    def note(self, name: bytes, why: object) -> None:
        self._count += 1
        if len(self._named) < NAMED:
            self._named.append(f"{shown(name)} ({why})")

    def complain(self) -> None:
        """Raise DesignProblem if there was one: what was read is not all there is, and no part of it would be."""
        if self._count:
            raise DesignProblem(
                f"{self._where}: {self._count:,} keys match {self._layout.pattern.text!r} and are no rows of it: "
                f"{'; '.join(self._named)}{'; …' if self._count > len(self._named) else ''}. Nothing was compared. "
                f"Rename or delete them, take a narrower pattern, or declare another type"
            )


def shown(name: bytes) -> str:
    """A key's name for people, odd bytes escaped, a long one cut."""
    text = repr(name)[1:]
    return text if len(text) <= 80 else f"{text[:80]}…"


def scanned(session: Session, pattern: Pattern) -> Iterator[list[bytes]]:
    """Names of keys, page by page, perhaps some twice; to the end, which the server says by cursor 0."""
    if not pattern.names:  # one key, whose braces are written twice in the pattern
        yield [pattern.between[0].encode()]
        return
    cursor = b"0"
    while True:
        cursor, names = session.ask("SCAN", cursor, "MATCH", pattern.glob, "COUNT", SCAN_COUNT)
        yield [name for name in names if not name.startswith(OURS)]
        if cursor == b"0":
            return


def pages(session: Session, layout: Layout, names: Sequence[bytes], odd: Odd, *, tokens: bool) -> Iterator[list[Row]]:
    """The rows of these keys."""
    token = ("",) if tokens else ()
    if not layout.member:
        page: list[Row] = []
        for name, answers in zip(names, _answers(session, layout, [(name, b"") for name in names]), strict=True):
            try:
                values = layout.row(answers)
                if values is not None:
                    page.append((*layout.key_at(name), *values, *token))
            except (ValueError, RedisError) as why:
                odd.note(name, why)
        yield page
        return
    for name in names:
        cursor: Any = 0
        while True:
            (answer,) = session.send([layout.paging(name, cursor)])
            if isinstance(answer, RedisError):
                odd.note(name, answer)
                break
            cursor, found = answer
            page = []
            for member, values in layout.members(found):
                try:
                    page.append((*layout.key_at(name, member), *values, *token))
                except ValueError as why:
                    odd.note(name + b" " + member, why)
            yield page
            if int(cursor) == 0:
                break


def _answers(session: Session, layout: Layout, names: Sequence[tuple[bytes, bytes]]) -> list[Sequence[Any]]:
    """What there is of each row, as `Layout.row` understands it. All at once where that is one command; then keys
    without a value are asked by themselves, for some of them may hold something else than they should.
    """
    found: dict[tuple[bytes, bytes], Sequence[Any]] = {}
    at_once = layout.at_once([name for name, _ in names])
    if at_once is not None and names:
        values = session.ask(*at_once)
        found = {name: [value] for name, value in zip(names, values, strict=True) if value is not None}
    left = [name for name in names if name not in found]
    commands = [layout.reading(*name) for name in left]
    answers = iter(session.send([command for own in commands for command in own]))
    found.update((name, [next(answers) for _ in own]) for name, own in zip(left, commands, strict=True))
    return [found[name] for name in names]


def fetched(session: Session, layout: Layout, keys: Sequence[Key], *, tokens: bool) -> list[Row]:
    """The rows of these keys, those that there are; a key that no name can stand for has none."""
    token = ("",) if tokens else ()
    names: dict[Key, tuple[bytes, bytes]] = {}
    for key in keys:
        with suppress(DataProblem):
            names[key] = layout.name_of(key)
    rows: list[Row] = []
    for (key, name), answers in zip(names.items(), _answers(session, layout, list(names.values())), strict=True):
        try:
            values = layout.row(answers)
        except (RedisError, ValueError) as refused:
            raise DataProblem(f"key {key}: {shown(name[0])}: {refused}") from None
        if values is not None:
            rows.append((*key, *values, *token))
    return rows
