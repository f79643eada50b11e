"""The pages by kind of derived state: every declaration can be copied."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from trueup import config

KINDS = Path(__file__).parents[2] / "docs" / "kinds"
PAGES = sorted(path for path in KINDS.glob("*.md") if path.name != "README.md")
SNIPPETS = [
    pytest.param(snippet, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, snippet in enumerate(re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
]


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_declaration_can_be_copied(snippet: str, tmp_path: Path) -> None:
    file = tmp_path / "trueup.toml"
    file.write_text(snippet, encoding="utf-8")
    declared = config.load(file)
    assert declared.projections
    for projection in declared.projections.values():
        for side in (projection.source, projection.target):
            assert side.database in declared.databases


def test_the_declaration_of_counters_in_redis_is_the_one_that_runs() -> None:
    (snippet,) = re.findall(r"```toml\n(.*?)```", (KINDS / "redis-counters.md").read_text(encoding="utf-8"), re.DOTALL)
    ran = KINDS.parents[1] / "examples" / "sharded_counters" / "trueup.redis.toml"
    assert tomllib.loads(snippet)["projections"] == tomllib.loads(ran.read_text(encoding="utf-8"))["projections"]


def test_every_page_has_a_declaration_and_is_in_the_index() -> None:
    index = (KINDS / "README.md").read_text(encoding="utf-8")
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert f"({page.name})" in index
        assert "```toml" in text
        for part in ("**Why.**", "**What it promises.**", "**Pitfalls**"):
            assert part in text, f"{page.name} lacks {part}"
