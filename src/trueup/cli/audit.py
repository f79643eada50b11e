"""Commands about the audit log: see it, check it, give it out, sign it, cut it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from trueup.cli.answers import opened, parse_key
from trueup.cli.options import FILE, AsJson, Config, KeyTexts, Limit
from trueup.errors import UsageError

audit = App(name="audit", help="The tamper-evident log of all that was done: see it, check it, give it out, sign it.")

Projection = Annotated[str, Parameter(name="--projection", show_default=False, help="Only lines of this projection.")]
Moment = Annotated[str, Parameter(help="`2026-03-01`, or `2026-03-01T12:30:00Z`; UTC where no zone is given.")]


@audit.default
def standing(*, as_json: AsJson = False, config: Config = FILE) -> int:
    """How the log stands: its size, its last head, and what is not in it yet."""
    from trueup import views_audit
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        told = views_audit.audit(engine)
    tables.put([told], as_json=as_json, title="audit", empty="")
    return 0


@audit.command(name="list")
def list_lines(
    *, limit: Limit = 20, projection: Projection = "", as_json: AsJson = False, config: Config = FILE
) -> int:
    """The newest lines, newest first."""
    from trueup import views_audit
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        lines = engine.audit.lines(limit=limit, projection=projection)
    rows = lines if as_json else [views_audit.audit_line(line) for line in lines]
    empty = f"no line of {projection}" if projection else "no line has a number yet; `trueup audit sequence`"
    tables.put(rows, as_json=as_json, title="audit", empty=empty)
    return 0


@audit.command
def show(seq: int, /, *, config: Config = FILE) -> int:
    """One line, byte for byte as it is hashed."""
    with opened(config, as_json=True) as engine:
        print(engine.audit.line(seq).decode())
    return 0


@audit.command
def verify(
    *,
    heads: Path | None = None,
    export: Path | None = None,
    verifier: str = "",
    as_json: AsJson = False,
    config: Config = FILE,
) -> int:
    """Check the log against all heads, and the ledger's records against the log. Exit code 1 if anything is wrong.

    Parameters
    ----------
    heads
        A file of heads that was kept elsewhere, besides those that are configured.
    export
        Check this file instead of the log in the ledger.
    verifier
        The key (as `trueup audit key` printed it) that every head has to be signed by.
    """
    from trueup import views_audit
    from trueup.cli import tables

    if export is not None and not (export.is_file() and os.access(export, os.R_OK)):
        raise UsageError(f"{export} is no file that can be read")
    with opened(config, as_json=as_json) as engine:
        found = engine.audit.verify(heads=heads, export=export, verifier=verifier)
    told = views_audit.audit_check(found)
    if as_json:
        tables.print_json(told)
    else:
        for problem in found.problems:
            print(f"WRONG: {problem}")
        print(told["summary"])
    return 1 if found.problems else 0 if found.heads else 3


@audit.command
def export(
    file: Path,
    /,
    *,
    form: Annotated[Literal["jsonl", "csv"], Parameter(name="--format")] = "jsonl",
    since: Moment = "",
    projection: Projection = "",
    salts: Path | None = None,
    config: Config = FILE,
) -> int:
    """Write the log to a file, up to a head that is made now.

    Parameters
    ----------
    form
        `jsonl` is what is hashed and can be verified; `csv` is for reading.
    since
        From the newest head on that was made no later than this.
    salts
        Also write what opens the commitments of sensitive values, to this file; it is as secret as the values.
    """
    from trueup.audit import moment

    if salts is not None and not os.access(salts if salts.exists() else salts.parent, os.W_OK):
        raise UsageError(f"{salts} cannot be written")
    with opened(config) as engine:
        count = engine.audit.export(file, form=form, since=moment(since), projection=projection)
        opens = None if salts is None else engine.audit.salts(salts)
    print(f"{file}: {count:,} lines" + ("" if opens is None else f"; {salts}: {opens:,} values"))
    if projection or form == "csv":
        print("trueup: this is a part of the log; heads vouch for the whole of it only", file=sys.stderr)
    return 0


@audit.command
def sequence(*, config: Config = FILE) -> int:
    """Number the lines that wait, make a head of the log, sign and export it. Runs do that at their end."""
    with opened(config) as engine:
        made = engine.audit.seal()
    print("nothing is new" if made is None else made.note, end="\n" if made is None else "")
    return 0


@audit.command
def key(file: Path, /, *, config: Config = FILE) -> int:
    """Make a signing key for this log, in a file that only you can read; print what others verify heads by."""
    with opened(config) as engine:
        verifier = engine.audit.new_key(file)
    print(verifier)
    print(f'trueup: declare it: [trueup] audit = {{ key = "{file}", heads = ["file:heads.txt"] }}', file=sys.stderr)
    return 0


@audit.command
def erase(name: str, /, *, key: KeyTexts, config: Config = FILE) -> int:
    """Erase the sensitive values of rows from the ledger; the log's proofs stay valid. Cannot be undone."""
    with opened(config) as engine:
        count = engine.erase(name, keys=[parse_key(text) for text in key])
    print(f"{name}: {count:,} values cannot be opened any more")
    return 0


@audit.command
def prune(*, before: Moment, config: Config = FILE) -> int:
    """Drop the lines before the newest head that was made no later than `--before`; that head stands for them."""
    from trueup.audit import moment
    from trueup.errors import UsageError

    at = moment(before)
    if at is None:
        raise UsageError("--before: give a moment, such as 2026-03-01")
    with opened(config) as engine:
        count, head = engine.audit.prune(at)
    print(f"{count:,} lines dropped; the log begins at {head.size:,}")
    return 0


@audit.command
def script() -> int:
    """Print the script that verifies an export by itself: standard library only, under 60 lines."""
    from trueup.audit import script as text

    print(text(), end="")
    return 0
