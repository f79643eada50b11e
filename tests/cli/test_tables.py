"""What tables say of moments and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from types import SimpleNamespace
from typing import Any

import pytest

from trueup.cli.tables import LONG, Plain, _draw_partitions, console, flat, table, when


@pytest.mark.parametrize(
    ("seconds", "words"), [(-90, "90 s ago"), (-600, "10 min ago"), (-259200, "3 d ago"), (7300, "in 2 h")]
)
def test_that_were_and_that_will_be(seconds: float, words: str) -> None:
    assert when(datetime.now(UTC) + timedelta(seconds=seconds)) == words


def test_numbers_are_grouped_and_those_that_name_something_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    """They are typed again: `kill 15535`, `trueup audit show 1016`."""
    table([{"seq": 1016, "pid": 15535, "rows": 15535}])
    assert capsys.readouterr().out.split("\n")[3].split() == ["1016", "15535", "15,535"]


def test_where_nobody_watches_lines_are_what_a_console_prints() -> None:
    drawn, plain = StringIO(), StringIO()
    for text, markup in (
        ("  [green]in sync[/green]  [bold]x[/bold] [dim]y[/dim] [red]1[/red] [yellow]2 rows[/yellow] [3]", True),
        ("  [red]as it is[/red] :smile: " + "long " * 1_000, False),
        ("a\tb\a\b\v\f\rc", False),
    ):
        console(drawn).print(text, markup=markup, style="dim")
        Plain(plain).print(text, markup=markup, style="dim")
    assert plain.getvalue() == drawn.getvalue()
    assert "  in sync  x y 1 2 rows [3]\n" in plain.getvalue()


def test_when_a_bucket_closes_is_told_as_other_moments_are(capsys: pytest.CaptureFixture[str]) -> None:
    report: Any = SimpleNamespace(
        partitions=[], open_partitions=[{"partition": "2026-11-29", "closes": "2026-11-30T01:00:00+01:00"}]
    )
    _draw_partitions(console(), report)
    assert capsys.readouterr().out.endswith("it is compared from 2026-11-30 00:00 UTC on\n")


def test_of_long_texts_a_screen_shows_where_they_differ() -> None:
    """All of them is in what is piped, and in JSON."""
    row = {"kind": "different", "key": {"id": 1}, "columns": ["t"]}
    row |= {"expected": {"t": "a" * 5_000 + "RIGHT" + "b" * 5_000}, "observed": {"t": "a" * 5_000 + "wrong"}}
    told = flat(row, short=True)
    assert "RIGHTb" in told["expected"]
    assert told["observed"].endswith("awrong")
    assert all(len(told[side]) < LONG + 10 for side in ("expected", "observed"))
    assert len(flat(row)["expected"]) > 10_000
    assert len(row["expected"]["t"]) > 10_000, "nothing of the report is changed"
