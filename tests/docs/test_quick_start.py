"""The README's quick start, followed to the letter on a real PostgreSQL: what it prints is what the README shows."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

README = Path(__file__).parents[2] / "README.md"
#: What differs from one run to the next.
MOVING = ((r"\d+\.\d s\b", "T s"), (r"\br-[0-9a-f]{10}\b", "r-ID"), (r"planner's cost [\d,]+", "planner's cost N"))


def heredoc(text: str, name: str) -> str:
    """The body of a here-document of the README."""
    found = re.search(rf"<<'{name}'\n(.*?)\n{name}\n", text, re.DOTALL)
    assert found, f"the README has no here-document {name}"
    return found[1]


def sessions(text: str) -> list[tuple[str, str]]:
    """Commands of the README's console blocks, each with what it is shown to print."""
    shown: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            shown.append((command, output))
    return shown


def plain(output: str) -> list[str]:
    for moving, still in MOVING:
        output = re.sub(moving, still, output)
    return [re.sub(r"\s+", " ", line).strip(" ─") for line in output.splitlines() if line.strip(" ─\t")]


@pytest.fixture
def quick_start() -> str:
    text = README.read_text(encoding="utf-8")
    return text[text.index("## Quick start") : text.index("## Two tables")]


def test_the_quick_start_does_what_it_shows(quick_start: str, postgres: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(heredoc(quick_start, "SQL"))
    shown = sessions(quick_start)
    assert len(shown) >= 5, "the README shows fewer commands than a quick start needs"
    for command, expected in shown:
        words, _, status = command.partition(";")
        if words.startswith("trueup explain"):
            with (tmp_path / "trueup.toml").open("a", encoding="utf-8") as file:
                file.write(heredoc(quick_start, "TOML") + "\n")
        arguments = shlex.split(words.replace('"$DATABASE_URL"', shlex.quote(postgres)))
        assert arguments[0] == "trueup"
        ran = subprocess.run(
            [sys.executable, "-m", "trueup", *arguments[1:]],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUTF8": "1"},
            timeout=180,
            check=False,
        )
        printed = ran.stdout + (f"{ran.returncode}\n" if "echo $?" in status else "")
        assert plain(printed) == plain(expected), f"{command}: {ran.stderr}"


def test_the_quick_start_leaves_no_drift(quick_start: str, postgres: str, tmp_path: Path) -> None:
    """An independent count: the planted errors are there before, and gone after."""
    wrong = """
        SELECT count(*) FROM post_like_counts c FULL JOIN
          (SELECT post_id, count(*) AS likes FROM post_likes WHERE active GROUP BY post_id) s USING (post_id)
        WHERE coalesce(s.likes, 0) IS DISTINCT FROM c.likes"""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(heredoc(quick_start, "SQL"))
        assert connection.execute(wrong).fetchone() == (5,)
        (tmp_path / "trueup.toml").write_text(
            f'[databases.app]\nurl = "{postgres}"\n' + heredoc(quick_start, "TOML"), encoding="utf-8"
        )
        ran = [sys.executable, "-m", "trueup", "run", "post_like_counts"]
        subprocess.run(ran, cwd=tmp_path, check=True, capture_output=True, timeout=180)
        assert connection.execute(wrong).fetchone() == (0,)
