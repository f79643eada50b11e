"""SQLite's own ways: names that are words of its grammar, and files that are not whole."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trueup import Database, TrueupError, Verdict, diff
from trueup.adapters import connect, sqlite
from trueup.errors import ConnectionFailed

ROWS = [(n, "x" * 400) for n in range(200)]


def table(path: Path, name: str = "t", rows: Any = ROWS) -> str:
    """A table `id`, `v` in a file; where it is."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f'CREATE TABLE "{name}" (id INTEGER PRIMARY KEY, v TEXT)')
        connection.executemany(f'INSERT INTO "{name}" VALUES (?, ?)', rows)
    return f"sqlite:///{path}#{name}"


@pytest.mark.parametrize("word", ["returning", "nothing", "order", "group", "window", "filter", "generated", "rowid_"])
def test_a_word_of_the_grammar_may_be_a_name(tmp_path: Path, word: str) -> None:
    source, target = table(tmp_path / "a.db", word), table(tmp_path / "b.db", word, ROWS[1:])
    assert diff(source, target).missing == 1


def test_a_file_that_ends_within_a_page_is_no_source(tmp_path: Path) -> None:
    """SQLite takes what is missing of a page for zeros, and so rows without their values for rows."""
    source, target = table(tmp_path / "a.db"), table(tmp_path / "b.db")
    assert diff(source, target).verdict is Verdict.IN_SYNC
    path = tmp_path / "a.db"
    os.truncate(path, path.stat().st_size - 100)
    with closing(sqlite3.connect(path)) as connection:
        held = connection.execute("SELECT id, v FROM t").fetchall()
    assert len(held) == len(ROWS), "the control: SQLite says nothing"
    assert held != ROWS, "the control: and some are others"
    for sides in ((source, target), (target, source)):
        with pytest.raises(TrueupError, match=r"a\.db was cut off: it ends in the middle of a page"):
            diff(*sides)


def test_a_page_that_is_being_written_is_looked_at_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = table(tmp_path / "a.db"), table(tmp_path / "b.db")
    path = tmp_path / "a.db"
    whole = path.read_bytes()
    os.truncate(path, len(whole) - 100)
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        path.write_bytes(whole)

    monkeypatch.setattr(sqlite.time, "sleep", wait)
    assert diff(source, target).verdict is Verdict.IN_SYNC
    assert waited == [sqlite.PAGE_S]


def test_a_session_lets_go_no_lock_of_another(tmp_path: Path) -> None:
    """To close any descriptor of the file lets go what the process holds on it: other processes could write between."""
    url = table(tmp_path / "a.db").partition("#")[0]
    other = "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"

    def gets_in() -> bool:
        command = [sys.executable, "-c", other, str(tmp_path / "a.db")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    one, two = (connect(name, Database(url=url)) for name in ("one", "two"))
    with closing(one), closing(two), one.writing() as unit:
        unit.exec_driver_sql("SELECT 1").all()
        assert not gets_in()
        with two.reading() as look:
            look.exec_driver_sql("SELECT count(*) FROM t").all()
        assert not gets_in()
        with (tmp_path / "a.db").open("rb"):
            pass
        assert gets_in(), "the control"


def test_bytes_behind_the_last_page_are_none_of_the_database(tmp_path: Path) -> None:
    source, target = table(tmp_path / "a.db"), table(tmp_path / "b.db")
    with (tmp_path / "a.db").open("ab") as file:
        file.write(b"not a page")
    assert diff(source, target).verdict is Verdict.IN_SYNC


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(ConnectionFailed, match="unable to open database file"):
        diff(f"sqlite:///{tmp_path}#t", table(tmp_path / "b.db"))


def test_a_decimal_and_a_float_are_compared_by_spelling_in_one_file_as_in_two(tmp_path: Path) -> None:
    """SQLite compares a float with an integer exactly, and beyond 2^53 its shortest spelling is another number."""
    rows = [(1, 2**60), (2, 1152921504606847000), (3, 5), (4, -(2**60)), (5, None), (6, 2**60)]
    with closing(sqlite3.connect(tmp_path / "one.db")) as one, closing(sqlite3.connect(tmp_path / "two.db")) as two:
        for connection, table, kind in ((one, "d", "DECIMAL(38,0)"), (one, "r", "REAL"), (two, "r", "REAL")):
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, v {kind})")
            values = [*rows[:5], (6, None)] if table == "r" else rows
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", values)
            connection.commit()
    source = f"sqlite:///{tmp_path}/one.db#d"
    for target in ("one", "two"):
        for back in (False, True):
            sides = (source, f"sqlite:///{tmp_path}/{target}.db#r")
            report = diff(*reversed(sides) if back else sides)
            assert {row["key"]["id"] for row in report.drift} == {1, 4, 6}, (target, back)
