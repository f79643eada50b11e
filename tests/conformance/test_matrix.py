"""The conformance matrix on every pair of engines: right, or refused in words; and as docs/CONFORMANCE.md has it."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from functools import reduce
from pathlib import Path

import pytest

from tests.conformance import matrix
from tests.conformance.matrix import REFUSED, RIGHT, Cell
from tests.conformance.matrix_cases import CASES
from tests.conformance.worlds import Pairing, Place, places

DOCUMENT = Path(__file__).parents[2] / "docs" / "CONFORMANCE.md"


@pytest.fixture(params=matrix.pairs(), ids=str)
def pairing(request: pytest.FixtureRequest) -> Pairing:
    found: Pairing = request.param
    return found


@pytest.fixture
def sides(pairing: Pairing, request: pytest.FixtureRequest) -> tuple[Place, Place]:
    source, target = places(pairing, request, matrix.SIDES)
    matrix.prepared(source, target, matrix.tried(pairing))
    return source, target


def test_the_matrix(pairing: Pairing, sides: tuple[Place, Place]) -> None:
    source, target = sides
    by_name = {case.name: case for case in matrix.tried(pairing)}
    assert {name: matrix.oracle(case, source, target) for name, case in by_name.items()} == {
        name: dict(case.differ) for name, case in by_name.items()
    }, "the list and the oracle disagree about what is right"
    said = matrix.trueup(pairing, source, target, matrix.tried(pairing))
    assert {name: cell for name, cell in said.items() if cell.verdict not in (RIGHT, REFUSED)} == {}
    refused = {name: cell.reason for name, cell in said.items() if cell.verdict == REFUSED}
    assert {name: why for name, why in refused.items() if not by_name[name].refusal_is_right} == {}
    page = documented(matrix.title(pairing))
    assert page.keys() == {case.name for case in matrix.cases(pairing)}
    assert {name: page[name] for name in by_name} == {name: cell.verdict for name, cell in said.items()}


def documented(title: str) -> dict[str, str]:
    """Trueup's column of one pair, as the committed document has it."""
    found: dict[str, str] = {}
    for part in re.split(r"(?m)^## ", DOCUMENT.read_text(encoding="utf-8")):
        header: list[str] = []
        for line in part.splitlines():
            cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split(" | ")]
            if not line.startswith("|"):
                header = []
            elif not header:
                header = cells
            elif (column := _column(header, part.splitlines()[0], title)) is not None and len(cells) == len(header):
                found[cells[0].replace("\\|", "|").removesuffix(" *")] = cells[column]
    return {name: verdict for name, verdict in found.items() if verdict not in ("---", ".")}


def _column(header: list[str], section: str, title: str) -> int | None:
    """`trueup` in the section of a pair, or the pair's own column in the section about Trueup alone."""
    if section == title and "trueup" in header:
        return header.index("trueup")
    return header.index(title) if title in header else None


def test_the_command_that_writes_the_document_can_be_started() -> None:
    command = [sys.executable, "bench/conformance.py", "--help"]
    done = subprocess.run(command, cwd=DOCUMENT.parents[1], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_wrong_answer_is_called_wrong() -> None:
    """The judge itself: positive control."""
    case = next(case for case in CASES if case.name == "two counters off by one")
    assert matrix.judged(case, dict(case.differ)).verdict == RIGHT
    assert matrix.judged(case, {}) == Cell(verdict="false equal", reason="2 of 2 not found")
    assert matrix.judged(case, {"1": "different"}).reason == "1 of 2 not found"
    assert matrix.judged(case, {"1": "different", "2": "missing"}).verdict == "false equal"
    assert matrix.judged(case, {**case.differ, "3": "extra"}).verdict == "false different"
    assert matrix.judged(case, {"3": "extra"}).verdict == "false equal and false different"


@pytest.mark.parametrize(
    "name",
    [
        "two counters off by one",
        "values of two rows swapped",
        "one row twice, another twice",
        "'a|b', 'c' and 'a', 'b|c'",
    ],
)
def test_the_cases_about_checksums_deceive_a_weak_one(name: str) -> None:
    """CRC32 of the joined row, XORed over all rows, calls both sides equal: the case tests what it says."""
    case = next(case for case in CASES if case.name == name)
    weak = [
        reduce(int.__xor__, (zlib.crc32("|".join(map(str, row)).encode()) for row in rows))
        for rows in (case.source, case.target)
    ]
    assert weak[0] == weak[1]
