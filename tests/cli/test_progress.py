"""Progress on a terminal."""

from __future__ import annotations

from io import StringIO

from rich.console import Console
from rich.progress import Progress

from trueup.cli.progress import Bars


def test_what_people_write_is_no_markup() -> None:
    seen = StringIO()
    with Progress(console=Console(file=seen, force_terminal=True, width=100)) as bars:
        Bars(bars).paused("by ann: [/dim] see [bold]812[/bold]")
    assert "paused by ann: [/dim] see [bold]812[/bold]" in seen.getvalue()
