"""Help that is piped, and Ctrl-C where there is no run to resume."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from itertools import pairwise

from tests.cli.shop import PATIENCE_S, Shop
from trueup.cli.help import WIDTH


def paragraphs(text: str) -> list[list[str]]:
    return [block.splitlines() for block in re.split(r"\n\n+", text)]


def test_piped_help_is_folded_once(shop: Shop) -> None:
    """A line that ends early though the next word would have fitted was folded by somebody else before."""
    for arguments in (("--help",), ("demo", "--help"), ("check", "--help"), ("diff", "--help")):
        for paragraph in paragraphs(shop.run(*arguments).out):
            for line, following in pairwise(paragraph):
                assert len(line) <= WIDTH
                assert line == line.rstrip()
                deeper = len(following) - len(following.lstrip()) > len(line) - len(line.lstrip())
                words = following.split()
                if deeper or not following.startswith(" "):
                    torn = len(line) + 1 + len(words[0]) <= WIDTH and not line.endswith(":")
                    assert not torn, (line, following)


def test_every_command_says_in_the_list_what_it_does(shop: Shop) -> None:
    lines = shop.run("--help").out.splitlines()
    for name in ("demo", "check", "diff", "stop"):
        assert any(line.startswith(f"  {name}: ") for line in lines), name


def test_ctrl_c_in_the_demo_says_so_and_leaves_nothing(shop: Shop) -> None:
    environment = shop.environment() | {"TMPDIR": str(shop.folder)}
    with subprocess.Popen(
        [sys.executable, "-m", "trueup", "demo"],
        cwd=shop.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        while "1. " not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3
    assert "interrupted" in err
    assert "Traceback" not in err
    assert not list(shop.folder.glob("trueup-demo-*"))
