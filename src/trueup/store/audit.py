"""The audit log as it is written: each line in the transaction of the ledger record that it tells of.

Whoever writes an act of a person or of the engine into the ledger stages a line beside it:

    with self.ledger.begin() as c:
        told = self.ledger.audit.stage(c, "plan.approved", {"reason": reason}, projection=plan.projection, actor=actor)
        c.execute(t.approvals.insert().values(..., audit=told))

The record keeps what `stage` returns, the SHA-256 of the line, in a column `audit`: so nobody can change a line between
its transaction and its number. Lines are numbered later, in batches (`store.sequence`), and hashed into a tree then.
"""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa

from trueup._version import __version__
from trueup.core.told import Column, Fact, checked, commitment, line_of, lines_of, moment, sha256
from trueup.store import schema as t
from trueup.store import schema_audit as logged
from trueup.who import Actor

#: Columns of rows, as the ledger has them, that hold values of the target.
IMAGES = ("before", "after")
#: Runs that are remembered, so that not every line asks for its run.
RUNS_KNOWN = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """Lines that are ready to be staged."""

    lines: list[str]
    #: For the record that they tell of.
    sha256: str
    act: str
    about: _About
    aside: dict[str, str]
    salts: list[dict[str, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _About:
    """What is the same in all lines of a run."""

    run: str = ""
    projection: str = ""
    definition: str = ""
    #: One flag for each compared column; None: not known, so all of them are sensitive.
    hidden: tuple[bool, ...] | None = ()


@dataclass(kw_only=True)
class AuditLog:
    """Stages lines. One for each ledger; several threads may use it."""

    #: Who acts, where nobody else is named.
    actor: Callable[[], Actor]
    now: Callable[[], datetime]
    _origin: str = field(default="", repr=False)
    _runs: dict[str, _About] = field(default_factory=dict, repr=False)

    def stage(
        self,
        c: sa.Connection,
        act: str,
        facts: Mapping[str, Fact],
        *,
        projection: str = "",
        run: str = "",
        actor: Actor | None = None,
    ) -> str:
        """Put a line into the open transaction `c`: who did what, when, and why. Its SHA-256.

        `act`: what was done, as `thing.done`, at most 40 characters. `facts`: whatever else there is to know (`reason`,
        `plan`, `plan_hash`); no numbers, and no values of rows: those go through `rows`. `run` brings its projection,
        `actor` is needed where a server has authenticated somebody. Raises TypeError for a number.
        """
        about = self._about(c, run) if run else _About(projection=projection)
        aside: dict[str, str] = {}
        line = line_of(self._head(c, act, about, actor, facts), aside)
        return self.put(c, Prepared(lines=[line], sha256=sha256(line), act=act, about=about, aside=aside, salts=[]))

    def rows(
        self,
        c: sa.Connection,
        act: str,
        run: str,
        rows: Sequence[Mapping[str, Any]],
        names: Sequence[str],
        facts: Mapping[str, Fact] = MappingProxyType({}),
    ) -> Prepared:
        """Lines that tell of rows of the ledger, as many rows in a line as fit; not staged yet: see `put`.

        `rows`: as they are inserted; `names`: their columns that are told. Sensitive values become commitments.
        """
        about = self._about(c, run)
        salts: list[dict[str, str]] = []
        columns: dict[str, Column] = {name: [row[name] for row in rows] for name in names}
        if about.hidden is None or any(about.hidden):
            for name in IMAGES:
                columns[name] = [self._hide(about, row, name, salts) for row in rows]
        aside: dict[str, str] = {}
        lines = lines_of(self._head(c, act, about, None, facts), columns, aside)
        return Prepared(lines=lines, sha256=sha256("\n".join(lines)), act=act, about=about, aside=aside, salts=salts)

    def put(self, c: sa.Connection, told: Prepared) -> str:
        """Stage prepared lines in the open transaction `c`; their SHA-256."""
        about = told.about
        here = {"at": self.now(), "act": told.act, "projection": about.projection, "run": about.run}
        c.execute(logged.audit.insert(), [{**here, "line": line} for line in told.lines])
        for digest, content in told.aside.items():
            if (
                c.execute(sa.select(logged.audit_aside.c.sha256).where(logged.audit_aside.c.sha256 == digest)).first()
                is None
            ):
                c.execute(logged.audit_aside.insert().values(sha256=digest, content=content))
        if told.salts:
            c.execute(logged.audit_salts.insert(), told.salts)
        return told.sha256

    def began(self, c: sa.Connection, run: Mapping[str, Any], facts: Mapping[str, Fact]) -> str:
        """Stage the beginning of a run, given as it is inserted, and the change of its declaration if there was one."""
        name, definition, hidden = run["projection"], run["definition"], run.get("hidden")
        self._know(run["id"], name, definition, hidden)
        last = sa.select(t.runs.c.definition).where(t.runs.c.projection == name)
        before = c.execute(last.order_by(t.runs.c.started_at.desc()).limit(1)).scalar()
        if before not in (None, definition):
            self.stage(c, "settings.changed", {"before": before, "after": definition}, projection=name)
        own = {column: run[column] for column in ("command", "plan", "strategy") if run.get(column)}
        return self.stage(c, "run.began", {**own, **facts}, run=run["id"])

    # --- what is in every line -------------------------------------------------------------------------------------

    def _head(
        self, c: sa.Connection, act: str, about: _About, actor: Actor | None, facts: Mapping[str, Fact]
    ) -> dict[str, Fact]:
        """The facts, and before them what every line says."""
        who = actor or self.actor()
        known = {"definition": about.definition, "projection": about.projection, "run": about.run}
        return {
            **checked(facts),
            **{name: fact for name, fact in known.items() if fact},
            "act": act,
            "actor": {"by": who.by, "host": who.host, "name": who.name},
            "at": moment(self.now()),
            "code": __version__,
            "id": uuid.uuid4().hex,
            "origin": self.name(c),
        }

    def name(self, c: sa.Connection) -> str:
        """What this log is called."""
        if not self._origin:
            self._origin = str(c.execute(sa.select(logged.audit_log.c.origin)).scalar_one())
        return self._origin

    def call(self, c: sa.Connection, origin: str) -> None:
        """Name a log that has no line yet; one that has keeps its name."""
        if self.name(c) != origin and c.execute(sa.select(logged.audit.c.id).limit(1)).first() is None:
            c.execute(logged.audit_log.update().values(origin=origin))
            self._origin = origin

    def _about(self, c: sa.Connection, run: str) -> _About:
        about = self._runs.get(run)
        if about is None:
            row = c.execute(
                sa.select(t.runs.c.projection, t.runs.c.definition, t.runs.c.hidden).where(t.runs.c.id == run)
            ).one()
            about = self._know(run, row.projection, row.definition, row.hidden)
        return about

    def _know(self, run: str, projection: str, definition: str, hidden: str | None) -> _About:
        flags = None if hidden is None else tuple(json.loads(hidden))
        while len(self._runs) >= RUNS_KNOWN:  # a node that serves has any number of them
            self._runs.pop(next(iter(self._runs)), None)
        about = self._runs[run] = _About(run=run, projection=projection, definition=definition, hidden=flags)
        return about

    def _hide(self, about: _About, row: Mapping[str, Any], name: str, salts: list[dict[str, str]]) -> str | None:
        """A row's image with commitments for its sensitive values, and what opens them."""
        if row[name] is None:
            return None
        image = json.loads(row[name])
        for at in range(len(image)):
            if about.hidden is None or about.hidden[at]:
                salt, value = secrets.token_bytes(16), json.dumps(image[at])
                image[at] = {"hmac": commitment(salt, value)}
                salts.append(
                    {
                        "commitment": image[at]["hmac"],
                        "salt": salt.hex(),
                        "value": value,
                        "projection": about.projection,
                        "key": row["key"],
                        "key_hash": sha256(row["key"]),
                    }
                )
        return json.dumps(image)
