"""The tripwires must trip: a check that never fails is not one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "tripwires.py"

pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="not a checkout: .ci is not in the source archive")


def function(lines: int, above: str = "", on_def: str = "") -> str:
    return f"{above}def long():{on_def}\n" + "    x = 1\n" * (lines - 1)


def trip(folder: Path, text: str, name: str = "some.py") -> str:
    path = folder / name
    path.write_text(text)
    run = subprocess.run([sys.executable, SCRIPT, folder], capture_output=True, text=True, timeout=180, check=False)
    assert run.stderr == ""
    assert run.returncode == (1 if run.stdout else 0)
    return run.stdout.replace(f"{folder}/", "")


REASON = "# tripwire: one table, a line a state\n"

WITHIN = {
    "a file at its budget": "x = 1\n" * 400,
    "a long file with a reason": '"""What it is."""\n\n' + REASON + "x = 1\n" * 400,
    "a function at its budget": function(70),
    "a reason above the function": function(71, above=REASON),
    "a reason above the decorators": function(71, above=REASON + "@staticmethod\n"),
    "a reason on the def line": function(71, on_def="  " + REASON.strip()),
}

BEYOND = {
    "some.py: 401 lines, budget 400": "x = 1\n" * 401,
    "some.py: 402 lines, budget 400\nsome.py:402: this tripwire comment excuses nothing; remove it": (
        "x = 1\n" * 401 + REASON
    ),
    "some.py:1: long has 71 lines, budget 70": function(71),
    "some.py:2: long has 71 lines, budget 70": function(71, above="# tripwire: legacy\n"),
    "some.py:1: this tripwire comment excuses nothing; remove it": REASON + "x = 1\n",
}


@pytest.mark.parametrize("text", WITHIN.values(), ids=WITHIN)
def test_within_or_excused(tmp_path: Path, text: str) -> None:
    assert trip(tmp_path, text) == ""


@pytest.mark.parametrize(("expected", "text"), BEYOND.items(), ids=range(len(BEYOND)))
def test_beyond(tmp_path: Path, expected: str, text: str) -> None:
    assert trip(tmp_path, text) == expected + "\n"


def test_an_empty_folder_is_a_mistake_in_the_call(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    assert "no Python file" in trip(tmp_path / "sub", "", "readme.txt")
