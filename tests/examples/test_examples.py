"""Every folder of `examples`, run by the commands of its README as a user would, against what it is shown to print."""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from examples._kit.plain import plain
from examples._kit.stage import HANGS_S, LIMIT_S, NO_SERVER
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent for path in (ROOT / "examples").glob("*/run.py"))
RUN = "uv run python -m examples."


def commands(folder: Path) -> list[str]:
    """What the README says to type."""
    lines = (folder / "README.md").read_text(encoding="utf-8").splitlines()
    return [line.strip().partition("#")[0].strip() for line in lines if line.startswith(f"    {RUN}")]


def expected(folder: Path, command: str) -> Path:
    """`expected.txt`, or the one of this variant."""
    words = shlex.split(command)
    kind = "postgresql" if "--postgres" in words else words[words.index("--with") + 1] if "--with" in words else None
    of_its_own = folder / f"expected.{kind}.txt"
    return of_its_own if of_its_own.exists() else folder / "expected.txt"


def keys(folder: Path) -> set[str]:
    """Key columns of everything that an example declares."""
    found: set[str] = set()
    for path in folder.glob("trueup*.toml"):
        for projection in tomllib.loads(path.read_text(encoding="utf-8")).get("projections", {}).values():
            key = projection["key"]
            found |= {key} if isinstance(key, str) else set(key)
    return found


CASES = [(folder, command) for folder in EXAMPLES for command in commands(folder)]


@pytest.mark.parametrize(("folder", "command"), CASES, ids=[command.removeprefix(RUN) for _, command in CASES])
def test_an_example_prints_what_it_is_shown_to_print(
    folder: Path, command: str, request: pytest.FixtureRequest
) -> None:
    environment = {**os.environ, "PYTHONUTF8": "1"}
    if "$DATABASE_URL" in command:
        environment["DATABASE_URL"] = request.getfixturevalue("postgres")
    arguments = shlex.split(command.replace("$DATABASE_URL", environment.get("DATABASE_URL", "")))
    assert arguments[:3] == ["uv", "run", "python"]
    before_s = _computing_s()
    ran = subprocess.run(
        [sys.executable, *arguments[3:]],
        capture_output=True, text=True, cwd=ROOT, env=environment, timeout=HANGS_S + 10, check=False,
    )  # fmt: skip
    if ran.returncode == NO_SERVER:
        name, _, reason = ran.stderr.strip().partition(": ")
        missing_server(name, reason)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert _computing_s() - before_s < LIMIT_S
    if "--naive" in arguments:
        assert re.search(r"wrong at the end: [1-9]", ran.stdout), ran.stdout
        return
    scores = re.findall(r"recall (\S+), precision (\S+)", ran.stdout)
    assert scores
    assert set(scores) == {("1.00", "1.00")}
    assert re.search(r"wrong at the end: 0, after [1-9]", ran.stdout)
    wanted = expected(folder, command).read_text(encoding="utf-8")
    assert plain(ran.stdout, keys(folder)) == plain(wanted, keys(folder))


def _computing_s() -> float:
    """Processor time of all processes that have ended, seconds: what others do on the machine does not count."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_every_example_is_whole() -> None:
    """A folder that the tests would pass over, or that nobody finds, is no example."""
    folders = {path for path in (ROOT / "examples").iterdir() if path.is_dir() and path.name[0] not in "._"}
    assert folders == set(EXAMPLES)
    table = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    for folder in EXAMPLES:
        assert f"({folder.name}/README.md)" in table, f"examples/README.md does not lead to {folder.name}"
        assert (folder / "expected.txt").exists()
        asked = commands(folder)
        assert f"{RUN}{folder.name}.run" in asked, "its README says how to run it"
        assert any("--naive" in command for command in asked), "its README says how to break it"
