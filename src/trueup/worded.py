"""What an error says, for those who have a command line and no configuration file to look into."""

from __future__ import annotations

import re

from trueup.core.side import PLACES

#: Name of the only projection of a comparison.
NAME = "diff"
#: Places in a configuration file -> what they are on the command line.
_PLACES = (
    (rf"projections\.{NAME}\.(source|target)(?:\.(?:{'|'.join(PLACES)}))?: (?:databases\.\w+: )?", r"\1: "),
    (
        rf"projections\.{NAME}\.target\.columns: (\S+) is neither in `key` nor in `columns`",
        r"--map: \1 is not compared",
    ),
    (rf"projections\.{NAME}\.(source|target)\b", r"\1"),
    (rf"projections\.{NAME}\.(tolerance|nulls)\.(.+?): ", r"--\1 \2: "),
    (rf"projections\.{NAME}\.(key|columns|sensitive|settle|tolerance|nulls)\b", r"--\1"),
    (rf"projections\.{NAME}: ", ""),
    (rf"projections\.{NAME}\b", "diff"),
    (r"\bdatabases\.(source|target)\.url\b", r"\1"),
    (r"\bdatabases\.(source|target|database)\b", r"\1"),
    (r"databases\.<files>(?:: | )?", ""),
    (r" in database '(?:source|target|database|<files>)'", ""),
    (r"give format = .* \(known", "write format=csv, format=json or format=parquet behind it (known"),
    (
        r'declare types = \{ (\S+) = "text" \}',
        r"write types.\1=text behind the file's name",
    ),
    (
        r'declare types = \{ (\S+) = "boolean" \}, or "float" (.+), or "text"',
        r"say its type behind the file's name, as in types.\1=boolean, or types.\1=float \2, or types.\1=text",
    ),
    (
        r'that these are numbers: types = \{ (\S+) = "float" \}, or "(decimal\S+)"',
        r"behind its name that these are numbers: types.\1=float, or types.\1=\2",
    ),
    (
        r"; the limit is (?:databases\.)?\w+\.statement_timeout",
        "; one of `diff` may take 5 minutes: --save NAME writes a projection, whose database has `statement_timeout`",
    ),
    (r"say so in `types`", "say so behind its name, as in types.COLUMN=integer"),
    (r"say its type in `types`", "say its type behind its name, as in types.COLUMN=integer"),
    (r"`columns` of a side", "--map A=B"),
    (r"leave it out of `columns`", "leave it out with --exclude"),
    (r"(there is no table '\w+\s.+'; .+)", r"\1; a query begins with SELECT or WITH"),
    (r"`(key|columns)`", r"--\1"),
    (r"^diff: ", ""),
)


def worded(error: Exception) -> str:
    """The words of an error about declarations that nobody wrote down."""
    words = str(error)
    for place, meant in _PLACES:
        words = re.sub(place, meant, words)
    return words
