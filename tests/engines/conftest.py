"""`cluster`: a Dask scheduler and two worker processes, started once; `config`: the file that its workers read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from distributed import LocalCluster


@dataclass(frozen=True, kw_only=True)
class Cluster:
    url: str
    config: Path
    local: LocalCluster

    def pids(self) -> list[int]:
        return [nanny.pid for nanny in self.local.workers.values()]


def url_of(local: LocalCluster) -> str:
    return str(local.scheduler_address).replace("tcp://", "dask://")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    config = tmp_path_factory.mktemp("workers") / "trueup.toml"
    local = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        dashboard_address=":0",
        host="127.0.0.1",
        env={"TRUEUP_CONFIG": str(config)},
        silence_logs=True,
    )
    with local:
        local.wait_for_workers(2, timeout=120)
        yield Cluster(url=url_of(local), config=config, local=local)
