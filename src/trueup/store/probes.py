"""What `trueup doctor` found out, for the runs that follow."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.core.findings import Finding, Race, from_json, to_json
from trueup.core.guarantee import Proof, Protocol
from trueup.store import schema as t
from trueup.store.ledger import Ledger

#: Races looked at to find the newest of one protocol on one server.
RACES_LOOKED_AT = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """One examination of one projection."""

    projection: str
    #: Fingerprint of the declaration.
    definition: str
    #: The target's database, by its URL without password.
    place: str
    #: Its product and exact version.
    server: str
    code_version: str
    findings: tuple[Finding, ...]
    race: Race | None
    at: datetime


class Probes:
    """Reads and writes examinations."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def add(self, probe: Probe) -> None:
        values = {
            "projection": probe.projection,
            "definition": probe.definition,
            "place": probe.place,
            "server": probe.server,
            "code_version": probe.code_version,
            "findings": json.dumps([to_json(finding) for finding in probe.findings], ensure_ascii=False),
            "race": None if probe.race is None else json.dumps(asdict(probe.race), ensure_ascii=False),
            "at": probe.at,
        }
        told = {
            "place": probe.place,
            "server": probe.server,
            "race": "" if probe.race is None else str(probe.race.proof),
        }
        with self.ledger.begin() as c:
            self.ledger.audit.stage(c, "projection.examined", told, projection=probe.projection)
            c.execute(t.probes.insert().values(**values))

    def findings(self, projection: str, definition: str) -> list[Finding]:
        """What the last examination of this very declaration found; nothing where there was none."""
        statement = (
            sa.select(t.probes.c.findings)
            .where(t.probes.c.projection == projection, t.probes.c.definition == definition)
            .order_by(t.probes.c.id.desc())
            .limit(1)
        )
        with self.ledger.reading() as c:
            found = c.execute(statement).scalar()
        return [from_json(told) for told in json.loads(found or "[]")]

    def race(
        self, place: str, server: str, code_version: str, protocol: Protocol, *, one_database: bool
    ) -> Race | None:
        """The newest race of a protocol on one server, with one version of it and of our code.

        Whose projection it was run for does not matter: its tables were its own.
        """
        statement = (
            sa.select(t.probes.c.race)
            .where(
                t.probes.c.place == place,
                t.probes.c.server == server,
                t.probes.c.code_version == code_version,
                t.probes.c.race.is_not(None),
            )
            .order_by(t.probes.c.id.desc())
            .limit(RACES_LOOKED_AT)
        )
        with self.ledger.reading() as c:
            found = [json.loads(text) for text in c.execute(statement).scalars()]
        same = (told for told in found if (told["protocol"], told["one_database"]) == (protocol, one_database))
        return next(map(_race, same), None)


def _race(told: dict[str, Any]) -> Race:
    typed = {"protocol": Protocol(told["protocol"]), "proof": Proof(told["proof"]), "told": tuple(told["told"])}
    return Race(**{**told, **typed})
