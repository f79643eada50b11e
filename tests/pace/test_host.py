"""The machine that a database runs on; and a container with a limit: what is left of that, whatever its machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trueup.pace import host as host_module
from trueup.pace.host import HELD_BACK, MARKS, Host, cores
from trueup.pace.quota import Quota
from trueup.urls import here

#: Of the machine, in core-seconds: four cores, of which others use half a core each.
MACHINE = "".join(f"cpu{at} {{used}} 0 0 0 0 0 0 0 0 0\n" for at in range(4)) + "procs_running 40\n"


class Container:
    """Files as the kernel shows them in a container, of either version of control groups."""

    def __init__(self, folder: Path, version: int) -> None:
        self.proc, self.groups, self.version = folder / "proc", folder / "cgroup", version
        for each in (self.proc, self.groups, self.groups / "cpu", self.groups / "cpuacct"):
            each.mkdir()

    def limit(self, cores: float | None) -> None:
        if self.version == 2:
            quota = "max" if cores is None else str(int(cores * 100_000))
            (self.groups / "cpu.max").write_text(f"{quota} 100000\n")
        else:
            (self.groups / "cpu" / "cpu.cfs_quota_us").write_text(f"{-1 if cores is None else int(cores * 100_000)}\n")
            (self.groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")

    def did(self, busy_s: float, periods: int, held_back: int, machine_s: float) -> None:
        """Since it began; `machine_s`: of each core of the machine."""
        told = f"nr_periods {periods}\nnr_throttled {held_back}\n"
        if self.version == 2:
            (self.groups / "cpu.stat").write_text(f"usage_usec {int(busy_s * 1e6)}\nuser_usec 1\n{told}")
        else:
            (self.groups / "cpu" / "cpu.stat").write_text(f"{told}throttled_time 1\n")
            (self.groups / "cpuacct" / "cpuacct.usage").write_text(f"{int(busy_s * 1e9)}\n")
        used = int(machine_s * os.sysconf("SC_CLK_TCK"))
        (self.proc / "stat").write_text(MACHINE.replace("{used}", str(used)))


@pytest.fixture(params=[1, 2])
def container(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Container:
    monkeypatch.setattr(host_module, "_mine", lambda: {0, 1, 2, 3})
    return Container(tmp_path, request.param)


@pytest.mark.parametrize(("limit", "whole"), [(None, 4), (0.5, 1), (1.5, 1), (2, 2), (8, 4)])
def test_whole_cores_of_a_limit(container: Container, limit: float | None, whole: int) -> None:
    assert cores(Quota(container.groups)) == 4  # no such files: no limit
    container.limit(limit)
    assert Quota(container.groups).cores() == limit
    assert cores(Quota(container.groups)) == whole


@pytest.mark.parametrize(
    ("limit", "ran", "machine", "busy"),
    [
        (2, 1.0, 0.5, 1.0),  # half of the limit
        (1.5, 0.9, 0.5, 0.9),  # of one whole core: what is beyond it is left out, to the side of care
        (0.5, 0.1, 0.5, 0.6),  # of the one core, a half is not to be had
        (2, 0.5, 0.9, 1.6),  # the machine itself has less left than the limit: 0.4 cores
        (None, 0.5, 0.5, 2.0),  # the control: no limit, and the machine counts
    ],
)
def test_what_is_left_of_a_limit(
    container: Container, limit: float | None, ran: float, machine: float, busy: float
) -> None:
    container.limit(limit)
    host = Host(container.proc, container.groups)
    container.did(5.0, 50, 0, 7.0)
    assert host.processors(1.0) is None
    container.did(5.0 + 2 * ran, 70, 5, 7.0 + 2 * machine)
    seen = host.processors(3.0)
    assert seen is not None
    assert (seen.busy, seen.passed_s) == (pytest.approx(busy), 2.0)
    assert seen.runnable == (40 if limit is None else pytest.approx(ran + 0.25))  # the machine's are not its own
    assert host.look(3.0)[HELD_BACK] == (None if limit is None else 0.25)
    assert HELD_BACK in MARKS


def test_pressure_is_that_of_the_container(container: Container) -> None:
    container.limit(2)
    (container.proc / "pressure").mkdir()
    if container.version == 2:
        (container.groups / "io.pressure").touch()
    host = Host(container.proc, container.groups)
    for at, (machine, own) in {1.0: (0, 0), 2.0: (900_000, 400_000)}.items():
        (container.proc / "pressure" / "io").write_text(f"some avg10=0 total={machine}\n")
        if container.version == 2:
            (container.groups / "io.pressure").write_text(f"some avg10=0 total={own}\n")
        looked = host.look(at)
    assert looked["waits for disk"] == pytest.approx(0.4 if container.version == 2 else 0.9)


def test_files_that_say_nothing(container: Container) -> None:
    container.limit(2)
    host = Host(container.proc, container.groups)
    assert host.processors(1.0) is None  # no usage is told
    container.did(1.0, 1, 0, 1.0)
    for name in ("cpu.stat", "cpu/cpu.stat"):
        (container.groups / name).write_text("nonsense\n")
    assert host.processors(2.0) is None
    (container.groups / "cpu.max").write_text("\n")
    (container.groups / "cpu" / "cpu.cfs_quota_us").write_text("\n")
    assert Quota(container.groups).cores() is None


def test_host_pressure(tmp_path: Path) -> None:
    host = Host(tmp_path, tmp_path)
    assert set(host.look(0.0).values()) == {None}
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "io").write_text("some avg10=0 avg60=0 avg300=0 total=1000000\nfull avg10=0 total=5\n")
    assert host.look(1.0)["waits for disk"] is None
    (tmp_path / "pressure" / "io").write_text("some avg10=0 avg60=0 avg300=0 total=1500000\nfull avg10=0 total=5\n")
    looked = host.look(2.0)
    assert looked["waits for disk"] == pytest.approx(0.5)
    assert looked["waits for memory"] is None


def test_how_busy_the_cores_are_that_we_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_mine", lambda: {0, 2})
    host, second = Host(tmp_path, tmp_path), os.sysconf("SC_CLK_TCK")
    assert host.processors(0.0) is None  # there is no such file
    rows = (
        "cpu {0} 0 0 0 0 0 0 0 0 0\ncpu0 {0} 0 0 0 0 0 0 0 0 0\ncpu1 9{0} 0 0 0 0 0 0 0 0 0\ncpu2 0 0 0 {0} 0 0 0 {1}\n"
    )
    for at, used, stolen in ((1.0, 0, 0), (3.0, second, second // 2)):
        (tmp_path / "stat").write_text(rows.format(used, stolen) + "intr 5\nprocs_running 7\n")
        seen = host.processors(at)
        assert (seen is None) is (at == 1.0)
    assert seen is not None
    assert (seen.busy, seen.passed_s, seen.runnable) == (
        pytest.approx(0.75),
        2.0,
        pytest.approx(14 / 3),
    )  # idle time is none; ours are two of three
    (tmp_path / "stat").write_text("cpu0\n")
    assert host.processors(4.0) is None


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("postgresql://u:p@127.0.0.1:5432/db", True),
        ("postgresql:///db?host=/run/postgresql", True),
        ("postgresql://db.example.com/db", False),
        ("postgresql:///db?host=db.example.com", False),
        ("mysql://u@localhost/db", True),
    ],
)
def test_is_it_here(url: str, local: bool) -> None:
    assert here(url) is local
