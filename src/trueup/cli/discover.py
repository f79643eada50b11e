"""`trueup discover`: what seems to be derived from what, and how many rows of it are wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueup.cli import garbage, save_found
from trueup.cli.tables import console, print_json
from trueup.core.discover.judge import Verdict
from trueup.sides import parse_side
from trueup.views_discover import discovered

if TYPE_CHECKING:
    from rich.console import Console

    from trueup.core.discover.judge import Proposal
    from trueup.discover import Found

#: Wrong guesses and gaps that are listed.
LISTED = 10


def run(url: str, *, seconds: float, only: tuple[str, ...], save: bool, as_json: bool, config: Path) -> int:
    from trueup.discover import discover

    named = parse_side(f"{url}#tables", "URL")
    if save:
        save_found.readable(config)
    garbage.works()
    found = discover(named.url, seconds=seconds, only=only, progress=_telling())
    if as_json:
        print_json({"url": found.url, **discovered(found)})
    else:
        draw(found)
    if save:
        print(save_found.write(found, named, config), file=sys.stderr)
    return found.exit_code


def _telling() -> Any:
    """Where a person watches, what is looked at."""
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda text: print(f"\x1b[2K\r{text[:100]}", end="", file=sys.stderr, flush=True)


def draw(found: Found) -> None:
    out = console()
    if sys.stderr.isatty():
        print("\x1b[2K\r", end="", file=sys.stderr)
    out.print(f"{found.url}: {found.tables} tables, {found.seconds:.1f} s", markup=False, style="bold")
    for proposal in found.proposals:
        _draw(out, proposal)
    for kept in found.kept:
        wrong, rows = kept.figures.wrong, kept.figures.rows
        told = f"{wrong:,} of {rows:,} rows are not what its query gives" if wrong else f"right in all {rows:,} rows"
        out.print(f"{kept.view.name}: {told}", markup=False, style="red" if wrong else "green")
        out.print("  a materialised view: REFRESH MATERIALIZED VIEW makes it anew", markup=False, style="dim")
    for broken in found.broken:
        out.print(f"{broken.invariant.words}: {broken.wrong:,} of {broken.rows:,}", markup=False, style="red")
    if not (found.proposals or found.kept or found.broken):
        out.print("nothing seems to be derived from anything")
    _few(
        out,
        "wrong guesses, most rows speak against them:",
        [
            f"{p.column} is not {p.idea.formula} ({p.figures.wrong:,} of {p.figures.telling:,} differ)"
            for p in found.wrong_guesses
        ],
    )
    _few(out, "not looked at:", found.missed)


def _draw(out: Console, proposal: Proposal) -> None:
    figures = proposal.figures
    told = {
        Verdict.DRIFT: f"{figures.wrong:,} of {figures.rows:,} wrong",
        Verdict.RIGHT: f"right in all {figures.rows:,} rows",
    }.get(proposal.verdict, "no row says anything")
    style = {Verdict.DRIFT: "red", Verdict.RIGHT: "green"}.get(proposal.verdict, "yellow")
    out.print(f"{proposal.column}: {told}", markup=False, style=style)
    out.print(f"  = {proposal.idea.formula}  ({proposal.confidence} confidence)", markup=False)
    out.print(f"  {'; '.join(proposal.reasons)}", markup=False, style="dim")
    if proposal.sample:
        out.print(f"  {proposal.sample}", markup=False, style="yellow")
    if proposal.runner_up is not None:
        other = proposal.runner_up
        out.print(f"  or {other.idea.formula}: {other.figures.wrong:,} wrong", markup=False, style="dim")


def _few(out: Console, title: str, lines: list[str]) -> None:
    if lines:
        out.print(f"\n{title}", style="yellow")
    for line in lines[:LISTED]:
        out.print(f"  {line}", markup=False)
    if len(lines) > LISTED:
        out.print(f"  and {len(lines) - LISTED} more, in --json")
