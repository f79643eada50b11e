"""The script finds whatever was done to an export: each bit, each cut, each swap, and a log that was written anew."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations
from pathlib import Path

import pytest

from tests.audit.shop import ORIGIN, drift, shop, verified
from trueup.audit import script
from trueup.core.merkle import leaf_hash, tree_of
from trueup.core.note import Head, note_of


def make(folder: Path, lines: list[bytes], sizes: list[int], *, heads_of: list[bytes] | None = None) -> list[Path]:
    """A log and heads: of these lines, or of what the log was before."""
    audit, heads = folder / "a.jsonl", folder / "h.txt"
    audit.write_bytes(b"".join(line + b"\n" for line in lines))
    leaves = [leaf_hash(line) for line in heads_of or lines]
    told = [Head(origin=ORIGIN, size=size, root=tree_of(leaves[:size]).root()) for size in sizes]
    heads.write_text("".join(note_of(head) + "\n" for head in told), encoding="utf-8")
    return [audit, heads]


def lines_of(count: int, what: str = "x") -> list[bytes]:
    return [json.dumps({"seq": n, "act": "a.b", "what": what}, separators=(",", ":")).encode() for n in range(count)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small log that the engine wrote, and its heads."""
    folder = tmp_path_factory.mktemp("exported")
    drift(folder, 1)
    with shop(folder) as engine:
        engine.pause("p", reason="look")
        engine.audit.seal()
        engine.resume("p")
        engine.audit.export(folder / "a.jsonl")
    return folder / "a.jsonl", folder / "heads.txt"


def test_it_is_short_and_stands_alone(exported: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "v.py").write_text(script(), encoding="utf-8")
    assert len(script().splitlines()) < 60
    command = [sys.executable, "-I", "-S", str(tmp_path / "v.py"), *map(str, exported), ORIGIN]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert (done.returncode, done.stdout) == (0, "lines 0 to 2, 2 of 2 heads agree\n\n")


@pytest.mark.parametrize("size", [*range(1, 20), 64, 65, 69])
def test_its_roots_are_those_of_the_tree(tmp_path: Path, size: int) -> None:
    assert verified(*make(tmp_path, lines_of(size), list(range(1, size + 1))), ORIGIN)[0] == 0


def test_every_bit(exported: tuple[Path, Path], tmp_path: Path) -> None:
    """Each single bit of the export, one after the other."""
    audit, heads = exported
    right, bent = bytearray(audit.read_bytes()), tmp_path / "bent.jsonl"
    unseen = []
    for bit in range(len(right) * 8):
        right[bit >> 3] ^= 1 << (bit & 7)
        bent.write_bytes(right)
        if verified(bent, heads, ORIGIN)[0] == 0:
            unseen.append(bit)
        right[bit >> 3] ^= 1 << (bit & 7)
    assert len(right) > 400
    assert unseen == []
    assert verified(audit, heads, ORIGIN)[0] == 0  # the other way round: untouched it is good


def test_every_cut(exported: tuple[Path, Path], tmp_path: Path) -> None:
    """The file ends anywhere, or begins anywhere."""
    audit, heads = exported
    right, bent = audit.read_bytes(), tmp_path / "cut.jsonl"
    for at in range(len(right)):
        bent.write_bytes(right[:at])
        assert verified(bent, heads, ORIGIN)[0] == 1, at
        bent.write_bytes(right[at + 1 :])
        assert verified(bent, heads, ORIGIN)[0] == 1, at


def test_swapped_doubled_and_removed_lines(tmp_path: Path) -> None:
    right = lines_of(9)
    sizes = [3, 7, 9]
    for one, two in combinations(range(9), 2):
        bent = list(right)
        bent[one], bent[two] = bent[two], bent[one]
        assert verified(*make(tmp_path, bent, sizes, heads_of=right), ORIGIN)[0] == 1
    for at in range(9):
        for bent in (right[:at] + right[at + 1 :], right[: at + 1] + right[at:]):
            assert verified(*make(tmp_path, bent, sizes, heads_of=right), ORIGIN)[0] == 1


def test_a_log_that_was_written_anew(tmp_path: Path) -> None:
    """One old head that was kept elsewhere is enough. Without any, nothing can be known, and the script says so."""
    old, new = lines_of(9), lines_of(9, "y")
    audit, heads = make(tmp_path, new, [3, 7, 9])
    assert verified(audit, heads, ORIGIN)[0] == 0  # log and all heads: as it must be
    kept = note_of(Head(origin=ORIGIN, size=3, root=tree_of([leaf_hash(line) for line in old[:3]]).root()))
    heads.write_text(heads.read_text(encoding="utf-8") + kept, encoding="utf-8")
    assert verified(audit, heads, ORIGIN)[0] == 1


def test_another_log_no_head_and_a_torn_head(tmp_path: Path) -> None:
    audit, heads = make(tmp_path, lines_of(4), [4])
    assert verified(audit, heads, "example.org/other")[0] == 1
    text = heads.read_text(encoding="utf-8")
    heads.write_text("", encoding="utf-8")
    assert verified(audit, heads, ORIGIN)[0] == 1
    heads.write_text(text + text.split("\n")[0], encoding="utf-8")
    assert verified(audit, heads, ORIGIN)[0] == 1


def test_nothing_vouches_for_what_is_after_the_last_head(tmp_path: Path) -> None:
    code, said = verified(*make(tmp_path, lines_of(4), [3]), ORIGIN)
    assert code == 1
    assert "after the last head, to 4" in said
