"""A folder with a configuration and SQLite files, and the real command line run in it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: Longer than any command here takes on a busy machine; a test that reaches it has failed.
PATIENCE_S = 60.0

PROJECTION: dict[str, Any] = {
    "source": {"database": "app", "table": "src"},
    "target": {"database": "app", "table": "tgt"},
    "key": ["id"],
    "writers": "same_transaction",
}
SCHEMA = "CREATE TABLE {} (id INTEGER PRIMARY KEY, n INTEGER, email TEXT)"


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """stdout as one JSON document."""
        document = json.loads(self.out)
        assert isinstance(document, dict)
        assert self.out.count("\n") == 1
        return document

    @property
    def report(self) -> dict[str, Any]:
        """The only projection of the document."""
        (report,) = self.json["projections"]
        assert isinstance(report, dict)
        return report


@dataclass(kw_only=True)
class Shop:
    folder: Path
    server: Server
    projections: dict[str, dict[str, Any]] = field(default_factory=dict)
    databases: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: The `[trueup]` table.
    settings: dict[str, Any] = field(default_factory=dict)

    # --- what is declared ----------------------------------------------------------------------------------------

    def declare(self, name: str = "p", **changes: Any) -> None:
        self.projections[name] = PROJECTION | changes
        self.write()

    def write(self) -> None:
        """Write trueup.toml from what is declared."""
        lines = ["[trueup]", *(f"{key} = {toml(value)}" for key, value in self.settings.items())]
        for section, tables in (("databases", self.databases), ("projections", self.projections)):
            for name, values in tables.items():
                lines.append(f"[{section}.{name}]")
                lines += [f"{key} = {toml(value)}" for key, value in values.items()]
        (self.folder / "trueup.toml").write_text("\n".join(lines) + "\n")

    # --- what is there -------------------------------------------------------------------------------------------

    def sql(self, *statements: str, database: str = "app") -> list[tuple[Any, ...]]:
        """Run statements in one transaction; the rows of the last one."""
        connection = sqlite3.connect(self.folder / f"{database}.db", timeout=PATIENCE_S)
        try:
            with connection:
                rows: list[tuple[Any, ...]] = []
                for statement in statements:
                    rows = connection.execute(statement).fetchall()
            return rows
        finally:
            connection.close()

    def is_read(self) -> bool:
        """Is somebody reading the database right now?"""
        connection = sqlite3.connect(self.folder / "app.db", timeout=0)
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError:
            return True
        finally:
            connection.close()
        return False

    def fill(self, source: Iterable[Sequence[Any]], target: Iterable[Sequence[Any]]) -> None:
        """(id, n) or (id, n, email) rows of both tables."""
        connection = sqlite3.connect(self.folder / "app.db", timeout=PATIENCE_S)
        try:
            with connection:
                for table, rows in (("src", source), ("tgt", target)):
                    connection.execute(f"DELETE FROM {table}")
                    full = [(*row, None)[:3] for row in rows]
                    connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", full)
        finally:
            connection.close()

    @property
    def target(self) -> list[tuple[Any, ...]]:
        return self.sql("SELECT id, n, email FROM tgt ORDER BY id")

    # --- what is done --------------------------------------------------------------------------------------------

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TRUEUP_", "PYTEST_"))}
        return kept | {"PYTHONUNBUFFERED": "1", "COLUMNS": "80"}

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> Ran:
        """A command from beginning to end, in a process of its own."""
        out, err = self.folder / ".out", self.folder / ".err"
        asked = {"arguments": arguments, "folder": str(self.folder), "out": str(out), "err": str(err)}
        code = self.server.ask(asked | {"environment": self.environment() | (environment or {})})
        ran = Ran(code=code, out=out.read_text(encoding="utf-8"), err=err.read_text(encoding="utf-8"))
        assert "Traceback" not in ran.err, ran.err
        return ran

    @contextmanager
    def running(self, *arguments: str, **variables: str) -> Iterator[Running]:
        """A command that is still going on; it is ended with the block."""
        out, err = self.folder / ".out-pipe", self.folder / ".err-pipe"
        for pipe in (out, err):
            pipe.unlink(missing_ok=True)
            os.mkfifo(pipe)
        asked = {"arguments": arguments, "folder": str(self.folder), "out": str(out), "err": str(err)}
        process = Forked(self.server, asked | {"environment": self.environment() | variables})
        try:
            yield Running(process)
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


class Server:
    """`server.py` in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.server"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def ask(self, asked: dict[str, Any]) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate(timeout=PATIENCE_S)


class Forked:
    """A command that the server has begun, with as much of `subprocess.Popen` as these tests need."""

    def __init__(self, server: Server, asked: dict[str, Any]) -> None:
        self.server = server
        self.returncode: int | None = None
        self.pid: int = server.ask(asked | {"begin": True})
        self.stdout = Path(asked["out"]).open(encoding="utf-8")  # noqa: SIM115 - `communicate` closes both
        self.stderr = Path(asked["err"]).open(encoding="utf-8")  # noqa: SIM115

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self.server.ask({"ended": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        end, between = time.monotonic() + timeout, threading.Event()
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("trueup", timeout)
            between.wait(0.01)
        return code

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = PATIENCE_S) -> tuple[str, str]:
        """What is left of both; then it has ended."""
        if self.stdout.closed:
            return "", ""
        with self.stdout, self.stderr, ThreadPoolExecutor(1) as aside:
            out, err = aside.submit(self.stdout.read), self.stderr.read()
            told = out.result(timeout), err
        self.wait(timeout)
        return told


class Running:
    def __init__(self, process: Forked) -> None:
        self.process = process
        self.told = ""

    def until(self, words: str) -> None:
        """Read progress until it says `words`: no clock, no guess."""
        while words not in self.told:
            line = self.process.stderr.readline()
            assert line, f"ended without saying {words!r}: {self.told}"
            self.told += line

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It is where it is for as long as the block takes, and no wait of it ends meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def until_reading(self, shop: Shop) -> None:
        """Wait until it has been reading the database for half a second on end: it is in one long statement."""
        between = threading.Event()
        locked = 0
        for _ in range(int(PATIENCE_S / 0.02)):
            assert self.process.poll() is None, "it ended by itself"
            locked = locked + 1 if shop.is_read() else 0
            if locked == 25:
                return
            between.wait(0.02)
        raise AssertionError("it never began to read")

    def end(self) -> Ran:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in err, err
        return Ran(code=self.process.wait(PATIENCE_S), out=out, err=self.told + err)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)
