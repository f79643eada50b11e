"""Writes docs/CONFORMANCE.md: what Trueup, reladiff and data-diff say of each case of the conformance matrix.

    python bench/conformance.py                    # needs PostgreSQL and MariaDB on this machine; about ten minutes

The cases are data (tests/conformance/matrix_cases.py), each two small tables. What is right is in the list and found
again by plain Python over fetched values; the two have to agree, or nothing is written. The committed document is held
against a run of Trueup by tests/conformance/test_matrix.py.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = str(Path(__file__).resolve().parent)
# Scripts of this folder come last: one is called `events`, as a package is that OpenSearch's client needs.
sys.path[:] = [str(ROOT), *(path for path in sys.path if path != HERE), HERE]

from _common import say  # noqa: E402
from peers.environments import FOLDER, PEERS, NotInstalledError, python_of  # noqa: E402

from tests import servers  # noqa: E402
from tests.conformance import matrix  # noqa: E402
from tests.conformance.matrix import REFUSED, RIGHT, Cell  # noqa: E402
from tests.conformance.matrix_cases import CASES  # noqa: E402
from tests.conformance.matrix_types import Case  # noqa: E402
from tests.conformance.oracle import told  # noqa: E402
from tests.conformance.worlds import Pairing  # noqa: E402

DOCUMENT = ROOT / "docs" / "CONFORMANCE.md"
#: Peer -> module that has its interface.
MODULES = {"reladiff": "reladiff", "data-diff": "data_diff"}
#: What peers can compare, as far as we run them.
_PEERS_ON = [("postgresql", "postgresql"), ("postgresql", "mysql"), ("mysql", "mysql")]
#: Seconds that all cases of one pair may take a peer.
PAIR_S = 900
#: How peers begin to say that they will not, where the class of the error does not tell.
_REFUSALS = ("Incompatible types", "Table appears to be empty")
#: Name of a tool -> its cells by name of the case.
Answers = dict[str, dict[str, Cell]]

_HEAD = """\
# Conformance

What a comparison gets wrong, it gets wrong on values like these. Each case is two small tables; what differs is known,
and found again by plain Python over the fetched values. `python bench/conformance.py` writes this page, and a test
holds Trueup's columns against a run on every change (of DuckDB and files, each case on one of the pairs). Do not edit
it by hand. CSV and JSON have no types: the other side says what a text means, or `types` do where it does not.

| word | means |
|---|---|
| right | exactly the rows that differ were reported, each as missing, extra or different |
| refused | no answer, and a reason that says so; nothing was called equal |
| **false equal** | a row that differs was not reported, or reported as another kind of difference |
| **false different** | a row that is the same was reported |
| **error** | it failed with something else than a refusal |
| . | the tool does not compare these engines, or an engine does not have the type |

A refusal is as right as the answer where the key is no key (NULL, twice) and where types have no common meaning (an
instant and a time stamp without a zone): such cases are marked *.
"""

_PEERS = """\
Peers run with bisection factor 2 and threshold 3, so that a table of a few rows takes the way that a big one takes
(checksums of key ranges first), and each case in a process of its own. reladiff does not sort its answer: sorting fails
where a NULL differs.
"""


# --- running ---------------------------------------------------------------------------------------------------------


@contextmanager
def scratch(engine: str, label: str) -> Iterator[str]:
    """URL of an empty database of an engine, gone afterwards."""
    with ExitStack() as after:
        if engine == "postgresql":
            home = Path(after.enter_context(tempfile.TemporaryDirectory()))
            server = after.enter_context(servers.postgres_server(os.environ, home))
            yield after.enter_context(servers.scratch_database(server, label))
        elif engine == "mysql":
            yield after.enter_context(servers.scratch_mariadb(servers.mariadb_server(os.environ), label))
        elif engine in ("duckdb", "file"):
            yield f"duckdb:///{after.enter_context(tempfile.TemporaryDirectory())}/{label}.duckdb"
        else:
            yield f"sqlite:///{after.enter_context(tempfile.TemporaryDirectory())}/{label}.db"


def run(pairing: Pairing, peers: Mapping[str, Path]) -> Answers:
    """All tools on all cases of a pairing."""
    say(matrix.title(pairing))
    with (
        scratch(pairing.source, "mxs") as source_url,
        scratch(pairing.target, "mxt") as target_url,
        ExitStack() as opened,
    ):
        source, target = matrix.places_of(pairing, source_url, target_url)
        wanted = matrix.cases(pairing)
        for place in {source, target}:
            place.keep_open()
            opened.callback(place.close)
        matrix.prepared(source, target, wanted)
        for case in wanted:
            right = matrix.oracle(case, source, target)
            if right != dict(case.differ):
                raise SystemExit(f"{case.name}: the list says {dict(case.differ)}, the values say {right}")
        answers: Answers = {"trueup": matrix.trueup(pairing, source, target, wanted)}
        if (pairing.source, pairing.target) in _PEERS_ON and not pairing.together:
            for name, python in peers.items():
                say(f"{matrix.title(pairing)}: {name}")
                answers[name] = asked(name, python, wanted, source_url, target_url)
        return answers


def asked(name: str, python: Path, wanted: Sequence[Case], source: str, target: str) -> dict[str, Cell]:
    """What one peer says."""
    task = {
        "module": MODULES[name],
        "source": source,
        "target": target,
        "threads": 1,
        "bisection_factor": 2,
        "bisection_threshold": 3,
        "skip_sort_results": name == "reladiff",  # sorting fails where a NULL differs; the answer is the same
        "cases": [
            {
                "source_table": matrix.table_of(case, "source"),
                "target_table": matrix.table_of(case, "target"),
                "key": case.key,
                "columns": [column for column in case.columns if column not in case.key],
            }
            for case in wanted
        ],
    }
    script = str(Path(__file__).parent / "peers" / "cases.py")
    done = subprocess.run(
        [str(python), script], input=json.dumps(task), capture_output=True, text=True, timeout=PAIR_S, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr[-1000:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return {case.name: _cell(case, answer) for case, answer in zip(wanted, told, strict=True)}


def _cell(case: Case, answer: Mapping[str, object]) -> Cell:
    if "raised" in answer:
        reason = f"{answer['raised']}: {answer['message']}"
        refused = answer["raised"] == "NotImplementedError" or str(answer["message"]).startswith(_REFUSALS)
        return Cell(verdict=REFUSED if refused else "error", reason=reason)
    found = answer["found"]
    assert isinstance(found, list)
    meaning = case.type_of("source", case.key[0]).meaning if len(case.key) == 1 else "text"
    return matrix.judged(case, {told(key, meaning): str(kind) for key, kind in found})


# --- telling ---------------------------------------------------------------------------------------------------------


def document(answers: Mapping[Pairing, Answers], about: Sequence[str]) -> str:
    """The whole page."""
    parts = [_HEAD, *about, "", _PEERS, "## In short", "", summary(answers), ""]
    for pairing, tools in answers.items():
        if len(tools) > 1:
            parts += [f"## {matrix.title(pairing)}", "", of_pair(tools), ""]
    alone = {pairing: tools["trueup"] for pairing, tools in answers.items() if len(tools) == 1}
    parts += ["## Trueup on the other pairs", "", of_trueup(alone), ""]
    parts += ["## Refusals and errors in words", "", words(answers)]
    return "\n".join(parts).rstrip() + "\n"


def of_pair(tools: Answers) -> str:
    rows = [
        [_case(case), case.about, *(_shown(cells.get(case.name)) for cells in tools.values())]
        for case in CASES
        if case.name in tools["trueup"]
    ]
    return _table(["case", "about", *tools], rows)


def of_trueup(alone: Mapping[Pairing, Mapping[str, Cell]]) -> str:
    rows = [[_case(case), *(_shown(cells.get(case.name)) for cells in alone.values())] for case in CASES]
    return _table(["case", *map(matrix.title, alone)], [row for row in rows if set(row[1:]) != {"."}])


def summary(answers: Mapping[Pairing, Answers]) -> str:
    """Cases of each verdict, for each tool on each pair."""
    names = [RIGHT, REFUSED, "false equal", "false different", "error"]
    rows = []
    for pairing, tools in answers.items():
        for tool, cells in tools.items():
            counts = [sum(name in cell.verdict for cell in cells.values()) for name in names]
            rows.append([matrix.title(pairing), tool, str(len(cells)), *map(str, counts)])
    return _table(["engines", "tool", "cases", *names], rows)


def words(answers: Mapping[Pairing, Answers]) -> str:
    """Each refusal and error once, with the tool and the cases it is about."""
    said: dict[tuple[str, str], list[str]] = {}
    for tools in answers.values():
        for tool, cells in tools.items():
            for name, cell in cells.items():
                if cell.verdict in (REFUSED, "error"):
                    said.setdefault((tool, _plain(cell.reason)), []).append(name)
    lines = [
        f"- {tool}: {reason} ({_few(list(dict.fromkeys(names)))})".replace("|", "\\|")
        for (tool, reason), names in sorted(said.items())
    ]
    return "\n".join(lines)


def _few(names: Sequence[str]) -> str:
    more = len(names) - 3
    return "; ".join(names[:3]) + (f"; and {more} more" if more > 0 else "")


def _plain(reason: str) -> str:
    """Without what differs from run to run: names of our tables and scratch databases."""
    first = re.sub(r"<[\w.]+\.(\w+) object at 0x\w+>", r"\1", reason.partition("\n")[0])
    kept = [word for word in first.split() if "trueup_test_" not in word]
    text = " ".join(kept)
    return (text if len(text) <= 200 else text[:199] + "…").replace("projections.", "").partition(": ")[2] or text


def _case(case: Case) -> str:
    return f"{case.name}{' *' if case.refusal_is_right else ''}".replace("|", "\\|")


def _shown(cell: Cell | None) -> str:
    if cell is None:
        return "."
    return cell.verdict if cell.verdict in (RIGHT, REFUSED) else f"**{cell.verdict}**"


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def peers_there(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Interpreters of the peers that can be had, and a line about each."""
    there, about = {}, []
    for name in MODULES:
        try:
            there[name] = python_of(name, folder)
            about.append(f"- {name}: {', '.join(PEERS[name].requirements)}")
        except NotInstalledError as problem:
            about.append(f"- not there: {problem}")
    return there, about


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--peers", type=Path, default=FOLDER, help="where peers are installed (default: %(default)s)")
    made.add_argument("--out", type=Path, default=DOCUMENT, help="default: %(default)s")
    args = made.parse_args()
    there, about = peers_there(args.peers)
    answers = {pairing: run(pairing, there) for pairing in matrix.pairs()}
    args.out.write_text(document(answers, about), encoding="utf-8")
    may_refuse = {case.name for case in CASES if case.refusal_is_right}
    wrong = [
        f"{matrix.title(pairing)}, {name}: trueup: {cell.verdict}: {cell.reason}"
        for pairing, tools in answers.items()
        for name, cell in tools["trueup"].items()
        if cell.verdict != RIGHT and not (cell.verdict == REFUSED and name in may_refuse)
    ]
    for line in wrong:
        print(f"FAILED: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
