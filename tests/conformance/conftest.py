"""`world`: one test in each adapter's own database, and with each adapter once as source and once as target.
Marked `every_pairing` it runs on all ordered pairs: what is marked touches every part of both adapters, so any two that
do not fit are found, and the suite does not grow with the square of the adapters. `together`: in one database only.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.conformance import pythonic
from tests.conformance.worlds import ALL, EACH_SIDE, TOGETHER, Pairing, World, places
from tests.servers import Pair
from trueup.store.ledger import Ledger


@pytest.fixture(scope="session")
def new_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger to copy, which is quicker than to make one."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    Ledger(f"sqlite:///{path}").close()
    return path


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "world" in metafunc.fixturenames and not hasattr(metafunc.module, "world"):  # a module may have its own
        every = metafunc.definition.get_closest_marker("every_pairing") is not None
        few = getattr(metafunc.module, "FEW", None)  # for what is the engine's and hardly any adapter's
        chosen = ALL if every else EACH_SIDE if few is None else [pairing for pairing in ALL if str(pairing) in few]
        assert few is None or len(chosen) == len(few), f"{few}: not all of these are pairings"
        metafunc.parametrize("world", chosen, ids=str, indirect=True)


@pytest.fixture
def world(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    shutil.copy(new_ledger, tmp_path)
    yield from _open(request.param, request, tmp_path)


@pytest.fixture(params=TOGETHER, ids=str)
def together(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    shutil.copy(new_ledger, tmp_path)
    yield from _open(request.param, request, tmp_path)


def _open(pairing: Pairing, request: pytest.FixtureRequest, folder: Path) -> Iterator[World]:
    source, target = places(pairing, request)
    opened = World(pairing, source, target, folder)
    yield opened
    opened.close()


@pytest.fixture
def duckdb_pair(tmp_path: Path) -> Pair:
    """Two empty DuckDB files."""
    for name in ("source.duckdb", "target.duckdb"):
        duckdb.connect(str(tmp_path / name)).close()
    return Pair(source=f"duckdb:///{tmp_path / 'source.duckdb'}", target=f"duckdb:///{tmp_path / 'target.duckdb'}")


@pytest.fixture
def python_rows() -> str:
    """The system behind the Python side, with nothing in it."""
    pythonic.HELD.clear()
    return "python://"
