"""`--help` where nobody watches: plain text, each paragraph folded once, to one width, with its own indent."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

from cyclopts.help.formatters.plain import PlainFormatter

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

#: Columns of a line of help.
WIDTH = 100
#: Wide enough that nothing is folded before it gets here: a text that is folded twice looks torn.
UNFOLDED = 100_000


class PlainHelp(PlainFormatter):
    """Cyclopts' plain help, which folds the description of an entry first and the line that it stands in again."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        console.width = UNFOLDED
        super().__call__(console, options, panel)

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        console.width = UNFOLDED
        super().render_description(console, options, description)

    def _print_plain(self, console: Console, text: str) -> None:
        for line in text.splitlines():
            indent = " " * (len(line) - len(line.lstrip()))
            hanging = indent + "    " if indent else ""
            super()._print_plain(console, textwrap.fill(line, WIDTH, subsequent_indent=hanging))
