"""The options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

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
Limit = Annotated[int, Parameter(name="--limit", validator=NOT_NEGATIVE, help="Listed at most; 0: all.")]
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
