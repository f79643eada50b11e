"""The image's health check, against a real server, for each way in which a container is begun."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.alerting.receivers import web
from tests.api.worlds import Api
from trueup.api.server import served
from trueup.core.api_settings import ApiSettings

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "healthcheck.py"
#: How the kernel tells of a script with an interpreter, and of one below a container's own init.
BEGUN = (["/opt/trueup/bin/python", "/opt/trueup/bin/trueup"], ["/sbin/docker-init", "--", "trueup"])


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("healthcheck", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def listening(small: Api) -> Iterator[str]:
    """Address and port of the API."""
    with served(small.engine, ApiSettings(listen="127.0.0.1:0"), looping=lambda: True, caused=dict) as address:
        yield address.removeprefix("http://")


def declared(folder: Path, monkeypatch: pytest.MonkeyPatch, listen: str = "") -> None:
    file = folder / "node.toml"
    file.write_text(
        f'[trueup]\nledger = "sqlite:///l.db"\n{f"api = {{ listen = {json.dumps(listen)} }}" if listen else ""}\n'
    )
    monkeypatch.setenv("TRUEUP_CONFIG", str(file))


@pytest.mark.parametrize("begun", BEGUN, ids=["by itself", "below an init"])
def test_a_node_that_answers(
    check: ModuleType, listening: str, begun: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    declared(tmp_path, monkeypatch, listening)
    assert check.main([*begun, "serve", "--log", "json"]) == 0
    declared(tmp_path, monkeypatch)
    assert check.main([*begun, "serve", f"--listen={listening}"]) == 0


def test_all_addresses_of_the_machine(check: ModuleType, listening: str) -> None:
    assert check.trouble(ApiSettings(listen=f"0.0.0.0:{listening.rpartition(':')[2]}")) == ""


def test_a_node_that_does_not_answer_well(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with web() as other:
        other.answer = lambda _path: (503, "")
        declared(tmp_path, monkeypatch, f"127.0.0.1:{other.port}")
        assert check.main([*BEGUN[0], "serve"]) == 1
        assert "answers with 503" in capsys.readouterr().out
    assert check.main([*BEGUN[0], "serve"]) == 1
    assert "does not answer" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["worker"], ["status"], ["serve"], ["serve", "--listen", "127.0.0.1:0"], []])
def test_what_takes_no_requests_is_well_as_long_as_it_runs(
    check: ModuleType, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker has the configuration of the others; nothing listens where that says."""
    declared(tmp_path, monkeypatch, "127.0.0.1:1" if words == ["worker"] else "")
    assert check.main([*BEGUN[0], *words]) == 0


def test_the_image_has_what_its_check_needs() -> None:
    """Its Python, the file, and time enough."""
    image = (ROOT / "deploy" / "Dockerfile").read_text().replace("\\\n", " ").rpartition("\nFROM ")[2]
    options, command = re.search(r"^HEALTHCHECK (.*) CMD (\[.*\])$", image, re.MULTILINE).groups()  # type: ignore[union-attr]
    program, file = json.loads(command)  # no shell: the image needs none
    copied = dict(re.findall(r"^COPY (deploy/\S+) (\S+)$", image, re.MULTILINE))
    assert (program, {to: ROOT / of for of, to in copied.items()}[file]) == ("python", FILE)
    assert "/opt/trueup/bin:$PATH" in image
    timeout = int(re.search(r"--timeout=(\d+)s", options)[1])  # type: ignore[index]
    assert timeout > 5
    done = subprocess.run([sys.executable, FILE], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "it takes no requests\n"), (
        done.stderr
    )  # of this machine's first process
