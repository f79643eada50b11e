"""Benchmarks can be started, and say what their options are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[1] / "bench"
#: One process for all of them: they import the same libraries.
_HELP = """
import contextlib, io, runpy, sys

folder, *scripts = sys.argv[1:]
sys.path.insert(0, folder)
for script in scripts:
    sys.argv, said = [script, "--help"], io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(said):
        runpy.run_path(script, run_name="__main__")
    assert "usage: " in said.getvalue(), script
"""


def test_every_benchmark_with_options_tells_them() -> None:
    scripts = [path for path in sorted(BENCH.glob("[!_]*.py")) if "parser" in path.read_text()]
    assert len(scripts) > 20
    command = [sys.executable, "-c", _HELP, str(BENCH), *map(str, scripts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
