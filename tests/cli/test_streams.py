"""Commands whose stdout or stderr is closed, full, not read to its end, or of a terminal without all letters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shop import Shop

#: A terminal of ASCII, as it is for Python where nothing says otherwise.
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NAME = "Zoë 語"


@pytest.fixture
def wrong(shop: Shop) -> Shop:
    shop.declare(settle=0, columns=["n", "email"])
    shop.fill([(1, 1, NAME), (2, 2)], [(1, 1), (2, 2)])
    return shop


def ran(
    shop: Shop, command: str, *, after: str = "", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """A command as a shell runs it, with `after` behind it."""
    variables = {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": ""} | (environment or {})
    return subprocess.run(
        ["bash", "-c", f"{sys.executable} -m trueup {command} {after}"],
        cwd=shop.folder,
        env=shop.environment() | variables,
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize("after", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_a_closed_stream_changes_no_answer(wrong: Shop, after: str) -> None:
    done = ran(wrong, "check", after=after)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert (b"1 different" in done.stdout) is (">&-" not in after.replace("2>&-", ""))


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("command", ["check", "check --json", "runs", "diff sqlite:///app.db#src sqlite:///app.db#tgt"])
def test_an_answer_that_cannot_be_written_is_told(wrong: Shop, command: str) -> None:
    done = ran(wrong, command, after=">/dev/full")
    assert done.returncode == 3
    assert b"trueup: the answer could not be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["check", "runs", "check --json"])
def test_an_answer_that_nobody_reads_is_no_drift(wrong: Shop, command: str) -> None:
    wrong.fill([], [])
    done = ran(wrong, command, after="| true; exit ${PIPESTATUS[0]}")
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr


def test_a_terminal_without_all_letters(wrong: Shop) -> None:
    done = ran(wrong, "check", environment=ASCII)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert rb"Zo\xeb" in done.stdout
    assert ran(wrong, "diff sqlite:///app.db#src sqlite:///app.db#tgt", environment=ASCII).returncode == 1
    document = json.loads(ran(wrong, "check --json", environment=ASCII).stdout)
    assert document["projections"][0]["drift"][0]["expected"]["email"] == NAME


def test_a_configuration_whose_path_has_such_letters(wrong: Shop) -> None:
    (wrong.folder / "trueup.toml").rename(wrong.folder / "é.toml")
    assert ran(wrong, "check -c é.toml", environment=ASCII).returncode == 1
