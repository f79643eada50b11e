"""What README and docs show of `trueup diff` is what it prints, and the hard keys are hard on both databases."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.docs.test_quick_start import README, heredoc, plain, sessions

COMMANDS = README.parent / "docs" / "commands.md"


def part(file: Path, begin: str, end: str) -> str:
    text = file.read_text(encoding="utf-8")
    return text[text.index(begin) : text.index(end, text.index(begin))]


def trueup(folder: Path, *arguments: str) -> tuple[str, int]:
    ran = subprocess.run(
        [sys.executable, "-m", "trueup", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONUTF8": "1"},
        timeout=180,
        check=False,
    )
    assert ran.returncode in (0, 1), ran.stderr
    return ran.stdout, ran.returncode


def fill(folder: Path, name: str, statements: str) -> None:
    """What the sqlite3 shell does."""
    before = Path.cwd()
    os.chdir(folder)  # ATTACH names a file beside it
    try:
        connection = sqlite3.connect(name, isolation_level=None)
        connection.executescript(statements)
        connection.close()
    finally:
        os.chdir(before)


def as_shown(folder: Path, text: str) -> int:
    """Run every command of the text; how many there were."""
    shown = sessions(text)
    for command, expected in shown:
        words, _, status = command.partition(";")
        arguments = shlex.split(words)
        assert arguments[:2] == ["trueup", "diff"]
        printed, code = trueup(folder, *arguments[1:])
        printed += f"{code}\n" if "echo $?" in status else ""
        assert plain(printed) == plain(expected), command
    return len(shown)


@pytest.fixture
def two_tables(tmp_path: Path) -> Path:
    fill(tmp_path, "shop.db", heredoc(README.read_text(encoding="utf-8"), "DIFF"))
    return tmp_path


def test_the_readme_shows_what_diff_prints(two_tables: Path) -> None:
    assert as_shown(two_tables, part(README, "## Two tables, queries or files", "## Install")) == 2


def test_the_commands_show_what_diff_prints(two_tables: Path) -> None:
    assert as_shown(two_tables, part(COMMANDS, "## `trueup diff", "### Hard keys")) == 1


# --- hard keys -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hard_keys() -> str:
    return part(COMMANDS, "### Hard keys", "## `trueup run")


def test_hard_keys_on_sqlite(hard_keys: str, tmp_path: Path) -> None:
    fill(tmp_path, "stock.db", heredoc(hard_keys, "HARD"))
    assert as_shown(tmp_path, hard_keys) == 1


@pytest.mark.parametrize("collation", ["", ' COLLATE "C"', ' COLLATE "und-x-icu"', " COLLATE loose"])
def test_hard_keys_on_postgresql(hard_keys: str, postgres: str, tmp_path: Path, collation: str) -> None:
    """The same rows, whatever the collation; also one that takes upper and lower case, and accents, for the same."""
    statements = heredoc(hard_keys, "HARD").replace(" text,", f" text{collation},")
    loose = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false)"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(loose)
        connection.execute(statements)
        if "loose" in collation:  # positive control: to the database these are the same
            assert connection.execute("SELECT count(*) FROM shop WHERE town = 'evian'").fetchone() == (2,)
    ((command, expected),) = sessions(hard_keys)
    arguments = [word.replace("sqlite:///stock.db", postgres) for word in shlex.split(command)[1:]]
    printed, code = trueup(tmp_path, *arguments)
    assert code == 1
    rows = [line for line in plain(printed) if "town=" in line]
    assert sorted(rows) == sorted(line for line in plain(expected) if "town=" in line)
    assert plain(printed)[1] == plain(expected)[1]


def test_hard_keys_between_both(hard_keys: str, postgres: str, tmp_path: Path) -> None:
    statements = heredoc(hard_keys, "HARD")
    fill(tmp_path, "stock.db", statements)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(statements)
    ((_, expected),) = sessions(hard_keys)
    for source, target in (("sqlite:///stock.db", postgres), (postgres, "sqlite:///stock.db")):
        key = ["--key", "country,town"]
        printed, _ = trueup(tmp_path, "diff", f"{source}#shop", f"{target}#warehouse", *key)
        rows = [line for line in plain(printed) if "town=" in line]
        assert sorted(rows) == sorted(line for line in plain(expected) if "town=" in line)
        assert trueup(tmp_path, "diff", f"{source}#shop", f"{target}#shop", *key)[1] == 0
