"""Every link of a page that stands in this repository leads somewhere, and the list of commands is whole."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from trueup.cli.commands import COMMANDS

ROOT = Path(__file__).parents[2]
PLACES = ("*.md", "docs/**/*.md", "examples/**/*.md", "bench/**/*.md", "deploy/**/*.md")
PAGES = sorted(page for place in PLACES for page in ROOT.glob(place))


@cache
def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = link.partition("#")
        if "://" in path:
            continue
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), link
        assert not anchor or anchor in slugs(there), link


def test_every_command_is_in_the_list_of_commands() -> None:
    table = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8").partition("## Options")[0]
    names = {path.rpartition(":")[2] for paths in COMMANDS.values() for path in paths} | {"demo"}
    assert names == set(re.findall(r"\[`(\w+)`\]\(#", table))
