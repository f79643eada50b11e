"""kill -9 at every statement of a handler's two transactions, and at every record that is kept of it: afterwards each
order has exactly one invoice, and what is told of it is true.

Played with the handler of `examples/invoices`, as it stands there.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import pytest

from examples._kit.connections import Database
from tests.conformance.worlds import UNLIMITED
from tests.faults.crash import Points
from tests.live.harness import QuickClock
from trueup import Trueup, Verdict, config
from trueup.core.projection import Approval
from trueup.store.calls import Calls
from trueup.store.ledger import Ledger

EXAMPLE = Path(__file__).parents[2] / "examples" / "invoices"
#: An order that waits, and one that was left between the transactions.
ORDERS = {1: "shipped", 2: "invoicing"}


def reset(folder: Path, *, unique: bool = True) -> None:
    empty = folder / "empty"
    if not empty.exists():
        Ledger(f"sqlite:///{empty}").close()
    for path in folder.glob("*.db*"):
        path.unlink()
    shutil.copy(empty, folder / "ledger.db")
    schema = (EXAMPLE / "schema.sql").read_text()
    with closing(Database(f"sqlite:///{folder / 'app.db'}")) as db:
        db.script(schema if unique else schema.replace("UNIQUE INDEX", "INDEX").replace("cancelled = 0;", "1;"))
        db.many("INSERT INTO orders VALUES (?, 100, ?)", list(ORDERS.items()))


def engine(folder: Path) -> Trueup:
    """The projection of the example; nothing waits, and nobody has to approve."""
    declared = config.load(EXAMPLE / "trueup.toml").projections["invoices"]
    plain = declared.model_copy(update={"settle": 0.0, "limits": UNLIMITED, "approval": Approval()})
    return Trueup(
        databases={"app": f"sqlite:///{folder / 'app.db'}"},
        projections=[plain],
        ledger=f"sqlite:///{folder / 'ledger.db'}",
        clock=QuickClock(),
    )


def run(folder: Path, die_at: int) -> list[str] | None:
    """The command in a process of its own, killed at the n-th point; the points' names where it came to its end."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # nothing of another thread is needed in the child
        child = os.fork()
    if child == 0:
        try:
            points = Points(die_at)
            points.around(Database, "run")
            points.around(Calls, "begin", "answered", "settle")
            points.around(Ledger, "open_unit", "close_unit", "close_segment", "set_state")
            with engine(folder) as app:
                app.run("invoices")
            os.write(writer, "\n".join(points.names).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        names = told.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return None
    assert names, "the command failed"
    return names


def wrong(folder: Path) -> list[str]:
    """What must not be, by SQL of our own."""
    with closing(sqlite3.connect(folder / "app.db")) as c:
        invoices = c.execute("SELECT order_id, count(*) FROM invoices WHERE cancelled = 0 GROUP BY 1").fetchall()
        states = c.execute("SELECT DISTINCT state FROM orders").fetchall()
    with closing(sqlite3.connect(folder / "ledger.db")) as c:
        opened = c.execute("SELECT count(*) FROM trueup_units WHERE closed_at IS NULL").fetchone()[0]
        waiting = c.execute("SELECT count(*) FROM trueup_calls WHERE settled = ''").fetchone()[0]
        keys = dict(c.execute("SELECT key, count(*) FROM trueup_calls GROUP BY key").fetchall())
    found = []
    if invoices != [(order, 1) for order in ORDERS]:
        found.append(f"invoices: {invoices}")
    if states != [("invoiced",)]:
        found.append(f"states: {states}")
    if opened or waiting or set(keys.values()) > {1}:
        found.append(f"{opened} units and {waiting} calls are open; idempotency keys by row: {keys}")
    return found


def test_killed_at_every_step_each_order_has_exactly_one_invoice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the handler's database is seen from here
    reset(tmp_path)
    names = run(tmp_path, 0)
    assert names is not None
    assert not wrong(tmp_path)
    statements = [name for name in names if name.endswith("Database.run")]
    assert len(statements) == 2 * len(ORDERS) * 8  # before and after: two transactions, three statements, one look
    bad: dict[str, list[str]] = {}
    for at in range(1, len(names) + 1):
        reset(tmp_path)
        assert run(tmp_path, at) is None, f"it was not killed at point {at}"
        with engine(tmp_path) as app:
            verdict = app.run("invoices").verdict
            again = app.run("invoices").verdict  # rerun: nothing is left to do
        if found := wrong(tmp_path) + ([] if again is Verdict.IN_SYNC else [f"{verdict}, then {again}"]):
            bad[f"{at}: {names[at - 1]}"] = found
    print(f"killed at {len(names)} points")
    assert not bad, "\n".join(f"{point}: {'; '.join(found)}" for point, found in bad.items())


def test_control_a_handler_that_is_not_idempotent_makes_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its insert and before anything says so: without the unique index, and with a view that lags."""
    monkeypatch.chdir(tmp_path)
    reset(tmp_path, unique=False)
    from examples.invoices.billing import invoice

    with closing(Database("sqlite:///app.db")) as db:
        for _ in range(2):
            invoice(db, 1, "key")
    assert wrong_invoices(tmp_path) == 2


def wrong_invoices(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "app.db")) as c:
        return int(c.execute("SELECT count(*) FROM invoices WHERE order_id = 1").fetchone()[0])
