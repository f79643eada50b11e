"""Leases on a server: who may run something, decided by the server's clock alone.

Two rows for each name. The lease is renewed every third of its time. The fencing token is raised by whoever takes the
lease, and every transaction that the holder makes in the ledger holds it shared and checks it: the write of a holder
that slept past its lease is refused, whatever its own clock says. Raising the token waits for such transactions, which
are short. What is written into a target is fenced there (`raise_fence`).
"""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError

from trueup.clock import SystemClock
from trueup.errors import LedgerFailed, TakenOver
from trueup.store.engine import translating
from trueup.store.schema_serving import lease_fences, leases

#: How long a lease lasts without being renewed, seconds.
LEASE_S = 30.0
#: Longest wait for another's short transaction, milliseconds.
WAIT_MS = 2000
#: What PostgreSQL says after it.
_LOCKED = "55P03"
#: Before every moment of a server's clock.
_NEVER: sa.ColumnElement[Any] = sa.literal_column("timestamptz 'epoch'")
_NOW = sa.func.clock_timestamp()
#: Where the kernel tells of processes.
_PROCESSES = Path("/proc")


@dataclass(frozen=True, kw_only=True, slots=True)
class Lease:
    """Some names, held by this process until `release`."""

    engine: sa.Engine
    incarnation: str
    ttl_s: float
    #: Name -> fencing token.
    tokens: Mapping[str, int]
    #: Somebody held one of them to the end of its time, or died with it: what it did has to be looked after.
    inherited: bool
    _pulse: SystemClock = field(default_factory=SystemClock)

    def check(self, connection: sa.Connection) -> None:
        """Hold the tokens for the rest of a transaction. Raises TakenOver if another has raised one."""
        mine = sa.or_(*((lease_fences.c.name == name) & (lease_fences.c.token == t) for name, t in self.tokens.items()))
        held = sa.select(lease_fences.c.name).where(mine).with_for_update(read=True)
        if len(connection.execute(held).all()) < len(self.tokens):
            raise TakenOver(
                f"{next(iter(self.tokens))}: another node has taken over, because this one was not heard of for "
                f"{self.ttl_s:g} s; it writes no more"
            )

    def renew(self) -> bool:
        """Keep the lease for another while; False if it is over. Raises LedgerFailed."""
        mine = leases.c.name.in_(list(self.tokens)) & (leases.c.incarnation == self.incarnation)
        later = leases.update().where(mine, leases.c.expires_at > _NOW).values(expires_at=_after(self.ttl_s))
        with translating(self.engine), self.engine.begin() as connection:
            return connection.execute(later).rowcount == len(self.tokens)

    def keep(self, lost: Callable[[], None]) -> threading.Thread:
        """Renew it on a thread until it is released; call `lost` if another has it, or it could not be renewed."""

        def beat() -> None:
            failed = 0
            while not self._pulse.wait(self.ttl_s / 3):
                try:
                    ours, failed = self.renew(), 0
                except LedgerFailed:  # the server is away: it may come back while the lease lasts
                    failed += 1
                    ours = failed < 3
                if not ours:
                    lost()
                    return

        thread = threading.Thread(target=beat, name="trueup-lease", daemon=True)
        thread.start()
        return thread

    def release(self) -> None:
        """Give it back, so that nobody has to wait for its end. Errors are as good as a lease that runs out."""
        self._pulse.interrupt()
        mine = leases.c.name.in_(list(self.tokens)) & (leases.c.incarnation == self.incarnation)
        with suppress(LedgerFailed), translating(self.engine), self.engine.begin() as connection:
            connection.execute(leases.update().where(mine).values(incarnation="", process="", expires_at=_NEVER))


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """Somebody else has one of the names."""

    name: str
    holder: str
    #: How long it has it at least, by the server's clock, seconds.
    left_s: float


def acquire(engine: sa.Engine, names: Sequence[str], ttl_s: float = LEASE_S) -> Lease | Taken:
    """All of the names, or none. Raises LedgerFailed."""
    with translating(engine):
        try:
            return _acquire(engine, sorted(names), ttl_s)
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", "") != _LOCKED:
                raise
            return Taken(name=names[0], holder="another's transaction in the ledger", left_s=0)


def _acquire(engine: sa.Engine, wanted: Sequence[str], ttl_s: float) -> Lease | Taken:
    incarnation = uuid.uuid4().hex
    with engine.begin() as connection:
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {WAIT_MS}")
        _known(connection, wanted)
        rows = connection.execute(
            sa.select(
                leases, (leases.c.expires_at > _NOW).label("lasts"), sa.extract("epoch", leases.c.expires_at - _NOW)
            )
            .where(leases.c.name.in_(wanted))
            .order_by(leases.c.name)
            .with_for_update()
        ).all()
        for row in rows:
            if row.lasts and not _died_here(row.process):
                return Taken(name=row.name, holder=row.holder, left_s=float(row[-1]))
        held: dict[str, Any] = {"incarnation": incarnation, "holder": _holder(), "process": _this_process()}
        connection.execute(leases.update().where(leases.c.name.in_(wanted)).values(**held, expires_at=_after(ttl_s)))
        tokens = {}
        for name in wanted:  # in order, so that two who want some of the same names cannot wait for each other
            raised = lease_fences.update().where(lease_fences.c.name == name).values(token=lease_fences.c.token + 1)
            tokens[name] = int(connection.execute(raised.returning(lease_fences.c.token)).scalar_one())
    inherited = any(row.incarnation for row in rows)
    return Lease(engine=engine, incarnation=incarnation, ttl_s=ttl_s, tokens=tokens, inherited=inherited)


def free(engine: sa.Engine, name: str) -> bool:
    """Could it be had now? It may be gone again when this returns. Raises LedgerFailed."""
    with translating(engine), engine.connect() as connection:
        asked = sa.select(leases.c.process, leases.c.expires_at > _NOW).where(leases.c.name == name)
        row = connection.execute(asked).one_or_none()
    return row is None or not row[1] or _died_here(row[0])


def _known(connection: sa.Connection, names: Sequence[str]) -> None:
    blank = {"incarnation": "", "holder": "", "process": "", "expires_at": _NEVER}
    for name in names:
        connection.execute(insert(leases).values(name=name, **blank).on_conflict_do_nothing())
        connection.execute(insert(lease_fences).values(name=name, token=0).on_conflict_do_nothing())


def _after(seconds: float) -> sa.ColumnElement[Any]:
    return _NOW + sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.literal(seconds, sa.Float))


def _holder() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


# --- processes of this machine --------------------------------------------------------------------------------------


def _this_process() -> str:
    return f"{_space()} {os.getpid()} {_began(os.getpid())}"


def _space() -> str:
    """The boot of this machine, and the container, in which process numbers mean something; empty: not known."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _began(pid: int) -> str:
    """When a process began, in the kernel's ticks; `?`: that is hidden, as from a service with `ProtectProc=invisible`;
    empty: there is none, or it is only waiting to be buried.
    """
    try:
        told = (_PROCESSES / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "?" if _there(pid) else ""
    fields = told.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else fields[19]


def _there(pid: int) -> bool:
    """Is there such a process, as the kernel tells also those who may not look at it?"""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _died_here(process: str) -> bool:
    """Was it a process of this machine, and is no more? It is not waited for."""
    if process.count(" ") != 2:
        return False
    space, pid, began = process.split(" ")
    return bool(space and began) and space == _space() and _began(int(pid)) not in (began, "?")
