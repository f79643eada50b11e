"""Worlds of two databases that hash rows alike: each ordered pair of adapters with each hash that both have.

Which these are is asked of the adapters, so a database that learns a hash joins by itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.worlds import TABLES, Pairing, Place, Row, World, places
from trueup import Database, Report, Trueup, Verdict
from trueup.adapters import connect

#: What an adapter is asked for to compare a segment.
ASKED = ("digests", "prints", "stream")


def ways_of(adapter: str) -> list[str]:
    """Names of the hashes that an adapter has; nothing is connected."""
    with closing(connect("any", Database(url=f"{adapter}:///nothing"))) as made:
        hashed = getattr(made, "hashed", None)
        return [] if hashed is None else list(hashed.ways)


WAYS = {adapter: ways_of(adapter) for adapter in TABLES}
#: Two databases, and the hash that is forced upon them.
HASHED = [(Pairing(source=a, target=b), way) for a, b in product(WAYS, repeat=2) for way in WAYS[a] if way in WAYS[b]]
HASHED_IDS = [f"{pairing}-{way.split()[0]}" for pairing, way in HASHED]
#: The way that values are taken as they are stored.
NATIVE = [(pairing, way) for pairing, way in HASHED if way != "md5"]


class HashedWorld(World):
    """Two databases that are compared by one certain hash; what they are asked is noted down."""

    def __init__(self, pairing: Pairing, way: str, source: Place, target: Place, folder: Path) -> None:
        super().__init__(pairing, source, target, folder)
        self.way = way
        #: (side, what, part) of each question, in order.
        self.asked: list[tuple[str, str, Any]] = []
        self._apps: dict[str, Trueup | None] = {}

    def app(self, **declared: Any) -> Trueup:
        app = super().app(**declared)
        for role, name in (("source", "a"), ("target", "b")):
            adapter: Any = app._adapter(name)
            force(adapter, self.way)
            for what in ASKED:
                self._note(role, adapter, what)
        return app

    def _note(self, role: str, adapter: Any, what: str) -> None:
        real = getattr(adapter, what)

        def noting(*given: Any, **named: Any) -> Any:
            self.asked.append((role, what, given[2 if what == "stream" else 1]))
            return real(*given, **named)

        setattr(adapter, what, noting)

    def again(self, columns: str, source: Iterable[Sequence[Any]], target: Iterable[Sequence[Any]]) -> None:
        """New tables in place of those there are."""
        self.source.sql("DROP TABLE IF EXISTS src")
        self.target.sql("DROP TABLE IF EXISTS dst")
        self.tables(columns, source, target)

    def steps(self) -> set[str]:
        """What the databases were asked: digests, prints, and streams by the kind of their part."""
        return {f"{what} {type(part).__name__}" if what == "stream" else what for _, what, part in self.asked}

    def found(self, **declared: Any) -> tuple[Report, set[Row]]:
        """A first look: its report, and (kind, key parts) of what differs."""
        self.asked.clear()
        app = self._apps.setdefault(repr(declared), None) or self.app(**declared)
        self._apps[repr(declared)] = app
        report = app.check("p", rows=0)
        return report, {(row["kind"], *row["key"].values()) for row in report.drift}


def force(adapter: Any, way: str) -> None:
    """Let an adapter offer one hash only."""
    real = adapter.hashes
    adapter.hashes = lambda: [offer for offer in real() if offer.name == way]


def open_hashed(
    mix: tuple[Pairing, str], request: pytest.FixtureRequest, ledger: Path, folder: Path
) -> Iterator[HashedWorld]:
    shutil.copy(ledger, folder)
    pairing, way = mix
    world = HashedWorld(pairing, way, *places(pairing, request), folder)
    yield world
    world.close()


def assert_differ(world: HashedWorld, expected: set[Row], **declared: Any) -> None:
    """Digests, values throughout, and the test's own knowledge give one answer."""
    report, found = world.found(**declared)
    assert found == expected
    assert "digests" in world.steps(), "it was not digests that decided"
    if not expected:
        assert report.verdict is Verdict.IN_SYNC
    _, exactly = world.found(**declared, exact=True)
    assert exactly == expected
    assert not {"digests", "prints"} & world.steps(), "exact reads values"
