"""The application, its groups of commands, and the options that several commands share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Group, Parameter, validators

from trueup._version import __version__
from trueup.cli.help import PlainHelp

LOOP = Group("Find and repair", sort_key=1)
KNOW = Group("Know", sort_key=2)
SWITCH = Group("Switches", sort_key=3)
BEGIN = Group("Begin", sort_key=0)

app = App(
    name="trueup",
    version=__version__,
    version_flags=["--version"],
    help="Find drift between derived state and its source of truth, confirm it, repair it safely, prove it.",
    help_format="plaintext",
    # Frames are for people; where nobody watches, plain text also starts faster.
    help_formatter="default" if sys.stdout.isatty() else PlainHelp(),
    help_epilogue="Exit codes: 0 in sync or repaired, 1 drift, 2 usage or configuration, 3 inconclusive, 4 refused.",
    # Ctrl-C is answered by `main`, which says what it means; cyclopts would end without a word.
    suppress_keyboard_interrupt=False,
)

Config = Annotated[Path, Parameter(name=["--config", "-c"], env_var="TRUEUP_CONFIG", help="Configuration file.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", show_default=False, help="One JSON document on stdout.")]
NOT_NEGATIVE = validators.Number(gte=0)
Rows = Annotated[
    int,
    Parameter(name="--rows", validator=NOT_NEGATIVE, help="Rows listed at most; 0: all. Counts are always complete."),
]
Known = Annotated[
    bool,
    Parameter(
        name="--known", negative="", show_default=False, help="Only what the ledger knows; no database is asked."
    ),
]
Limit = Annotated[int, Parameter(name="--limit", validator=NOT_NEGATIVE, help="Runs listed at most.")]
KeyTexts = Annotated[
    tuple[str, ...],
    Parameter(
        name="--key",
        negative="",
        show_default=False,
        help="Only this key: `id=42`, or `tenant=7,id=42`. May be repeated.",
    ),
]
Partitions = Annotated[
    tuple[str, ...],
    Parameter(
        name="--partition",
        negative="",
        show_default=False,
        help="Only this partition: a value of its column (`NULL` too), or a bucket as `2013-11-03`. May be repeated.",
    ),
]
First = Annotated[
    str | None,
    Parameter(
        name="--canary",
        show_default=False,
        help="So many rows first, `20` or `1%`; the others when these were read again and are right.",
    ),
]
Force = Annotated[bool, Parameter(name="--force", negative="", show_default=False)]
Full = Annotated[
    bool,
    Parameter(
        name="--full",
        negative="",
        show_default=False,
        help="Read everything, whatever is taken as unchanged.",
    ),
]
Reason = Annotated[str, Parameter(help="Why; kept in the record.")]
FILE = Path("trueup.toml")
