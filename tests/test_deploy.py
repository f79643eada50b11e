"""The unit for systemd is one that systemd understands, word for word."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "deploy" / "trueup.service"


def complaints(folder: Path, text: str) -> list[str]:
    """What systemd says about a unit; its program is not installed here, so another one stands for it."""
    unit = folder / UNIT.name
    unit.write_text(text.replace("/opt/trueup/bin/trueup", str(shutil.which("true"))))
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return [line for line in done.stderr.splitlines() if UNIT.name in line]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert "ExecStart=/opt/trueup/bin/trueup serve" in text
    assert complaints(tmp_path, text) == []
    misspelt = complaints(tmp_path, text.replace("ProtectSystem=", "ProtectSytem=").replace("Type=exec", "Type=exce"))
    assert len(misspelt) == 2, misspelt
