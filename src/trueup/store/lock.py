"""One run at a time: names that are held while something runs, and that a holder which dies lets go of.

On SQLite the kernel keeps them: a lock on a file beside the ledger, gone with its process. On a server they are leases.
Efficiency and tidy records are what this is for. That no stale repair is committed does not depend on it: the fence in
the target and compare-and-set see to that.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from trueup.errors import Refused
from trueup.store.lease import LEASE_S, Lease, Taken, acquire, free


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Names that this thread holds."""

    url: sa.URL
    names: frozenset[str]
    #: On a server.
    lease: Lease | None = None


_HELD: ContextVar[tuple[Held, ...]] = ContextVar("held", default=())


@contextmanager
def hold(
    engine: sa.Engine, *names: str, lost: Callable[[], None] = lambda: None, lease_s: float = LEASE_S
) -> Iterator[Held]:
    """Hold `names` for as long as the block lasts. Those that this thread holds already it may hold once more.

    `lost`: called from another thread if the lease is lost; what the block then writes to the ledger raises TakenOver.
    Raises Refused if another holds one of them, and holds none then; LedgerFailed.
    """
    before = _HELD.get()
    mine = frozenset().union(*(held.names for held in before if held.url == engine.url))
    wanted = [name for name in dict.fromkeys(names) if name not in mine]
    if not wanted:
        yield next(held for held in before if held.url == engine.url and names[0] in held.names)
        return
    holder = _locked if engine.dialect.name == "sqlite" else _leased
    with holder(engine, wanted, lost, lease_s) as held:
        token = _HELD.set((*before, held))
        try:
            yield held
        finally:
            _HELD.reset(token)


def guard(engine: sa.Engine, connection: sa.Connection) -> None:
    """In a transaction of the ledger: raise TakenOver if another has what this thread believes to hold."""
    for held in _HELD.get():
        if held.lease is not None and held.url == engine.url:
            held.lease.check(connection)


def is_free(engine: sa.Engine, name: str) -> bool:
    """Does nobody hold it just now? Raises LedgerFailed."""
    if engine.dialect.name != "sqlite":
        return free(engine, name)
    try:
        with _file_lock(engine, name):
            return True
    except Refused:
        return False


def _refusal(name: str, holder: str) -> Refused:
    projection = name.partition("#")[0]
    return Refused(
        f"projection {name!r} is being run by another process{holder}; "
        f"see `trueup status`, or wait for it (`trueup pause {projection}` halts it at the next segment border)"
    )


@contextmanager
def _locked(engine: sa.Engine, names: list[str], _lost: Callable[[], None], _lease_s: float) -> Iterator[Held]:
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(_file_lock(engine, name))
        yield Held(url=engine.url, names=frozenset(names))


@contextmanager
def _file_lock(engine: sa.Engine, name: str) -> Iterator[None]:
    """A kernel lock on a file beside the ledger; the kernel releases it when the process dies."""
    assert engine.url.database is not None
    path = Path(f"{engine.url.database}.{quote(name, safe='')}.lock")
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise _refusal(name, f" (process {file.read().strip() or 'unknown'})") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def _leased(engine: sa.Engine, names: list[str], lost: Callable[[], None], lease_s: float) -> Iterator[Held]:
    lease = acquire(engine, names, lease_s)
    if isinstance(lease, Taken):
        raise _refusal(lease.name, f" ({lease.holder}, for another {max(lease.left_s, 0):.0f} s at least)")
    beat = lease.keep(lost)
    try:
        yield Held(url=engine.url, names=frozenset(names), lease=lease)
    finally:
        lease.release()
        beat.join()
