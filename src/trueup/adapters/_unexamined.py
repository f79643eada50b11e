"""The examiner of a store that nobody has written one for: it vouches for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from trueup.adapters import Server
from trueup.core.binding import Binding
from trueup.core.findings import Finding, Race, State
from trueup.core.guarantee import Proof, Protocol


class Unexamined:
    """Says that nothing is known, which is never a pass."""

    def __init__(self, version: str = "") -> None:
        self.version = version

    def server(self) -> Server:
        return Server(version=self.version)

    def sides(self, binding: Binding, roles: Sequence[str]) -> list[Finding]:
        why = "what a repair depends on in this store cannot be looked at yet"
        place = f"projections.{binding.projection.name}"
        return [
            Finding(check="store", place=f"{place}.{role}", state=State.NOT_AVAILABLE, seen="not examined", why=why)
            for role in roles
        ]

    def race(self, protocol: Protocol, *, one_database: bool, now: datetime) -> Race:  # noqa: ARG002
        told = ("there is no race probe for this store",)
        return Race(protocol=protocol, one_database=one_database, proof=Proof.INCONCLUSIVE, told=told)
