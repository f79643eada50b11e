"""`trueup demo`: the whole story on real data, embedded, in under a minute; it fails if a promise fails.

Each act does something for real, prints its figures, and checks its promises by counting (`acts`, `crash`).
The engine works on a database that another process writes all the time; the demo knows which rows are wrong
from a list and a judge that the engine cannot see.
"""

from __future__ import annotations

import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from trueup.app import Trueup, load
from trueup.demo import acts, crash
from trueup.demo.acts import Scene
from trueup.demo.drawing import Drawing
from trueup.demo.promises import Promise, exit_code
from trueup.demo.stage import Pace, Stage
from trueup.errors import Interrupted
from trueup.signals import handled

Keep = Annotated[Path | None, Parameter(name="--keep", help="Play in this folder (new or empty) and leave it there.")]
AsJson = Annotated[bool, Parameter(name="--json", negative="", help="One JSON document on stdout.")]
Naive = Annotated[bool, Parameter(negative="", help="Also run a plain recount, and show what it destroys.")]
Seed = Annotated[int, Parameter(help="Another seed makes other mistakes.")]


def demo(*, seed: Seed = 1, naive: Naive = False, keep: Keep = None, as_json: AsJson = False) -> int:
    """The whole story on real data, with live traffic, in under a minute. Fails if a promise fails."""
    drawing = Drawing(quiet=as_json)
    try:
        with _folder(keep) as folder, _ended_by_signals():
            stage = Stage(folder=folder, seed=seed, pace=Pace())
            document = tell(stage, drawing, naive=naive, kept=None if keep is None else stage.config)
    except KeyboardInterrupt:
        left = "nothing is left behind" if keep is None else f"what there is of it is left in {keep}"
        raise Interrupted(f"the demo was interrupted before its end; {left}") from None
    if as_json:
        print(json.dumps(document, ensure_ascii=False))
    return 0 if document["verdict"] == "held" else 1


def tell(stage: Stage, drawing: Drawing, *, naive: bool, kept: Path | None) -> dict[str, Any]:
    """Play the acts in order; the figures and promises of all of them."""
    began = time.monotonic()
    told = _Telling(drawing)
    drawing.opening(stage.seed, stage.folder)
    try:
        _play(stage, told, naive=naive)
    finally:
        stage.close()
    seconds = time.monotonic() - began
    drawing.ending(told.promises, seconds, kept)
    return {
        "verdict": "held" if exit_code(told.promises) == 0 else "broken",
        "seed": stage.seed,
        "seconds": round(seconds, 1),
        "seconds_by_act": told.seconds,
        "acts": told.figures,
        "promises": [{"says": p.says, "held": p.held, "counted": p.counted} for p in told.promises],
    }


class _Telling:
    """What has been told so far."""

    def __init__(self, drawing: Drawing) -> None:
        self.drawing = drawing
        self.figures: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self.promises: list[Promise] = []

    def act(
        self,
        name: str,
        title: str,
        shows: str,
        play: Callable[[], Scene],
        draw: Callable[[dict[str, Any]], None],
        *,
        working: str,
    ) -> None:
        """Play one act, then draw it."""
        began = time.monotonic()
        with self.drawing.act(len(self.figures) + 1, title, shows, working=working):
            scene = play()
        self.figures[name] = scene.figures
        self.seconds[name] = round(time.monotonic() - began, 1)
        self.promises += scene.promises
        draw(scene.figures)
        self.drawing.promises(scene.promises)


def _play(stage: Stage, told: _Telling, *, naive: bool) -> None:
    drawing = told.drawing
    told.act(
        "set_up",
        "A truth, two projections of it, and a projector with bugs",
        "Derived state drifts: events are lost, doubled, reordered; somebody fixes a row by hand.",
        lambda: acts.set_up(stage, naive=naive),
        drawing.set_up,
        working="loading the flights, starting the traffic, waiting for the bugs",
    )
    with load(stage.config) as engine:
        told.act(
            "check",
            "Check: what is drift, and what is only lag?",
            "A difference counts as drift only if it is the same pair of values 2 s later. Nothing is written.",
            lambda: acts.check(stage),
            drawing.check,
            working="comparing both projections with the truth, twice",
        )
        planned: list[acts.Planned] = []

        def plan() -> Scene:
            planned.append(acts.plan(stage, engine))
            return planned[0].scene

        told.act(
            "plan",
            "Plan: before, after, and the statement",
            "What would be done about aircraft. Still nothing is written.",
            plan,
            drawing.plan,
            working="comparing again and writing the plan down",
        )
        told.act(
            "apply",
            "Apply, while the traffic goes on",
            "A row that is no longer what the plan was made on is left alone and listed: nothing newer is overwritten.",
            lambda: acts.apply(stage, engine, planned[0]),
            drawing.apply,
            working="letting some planned rows move on, then applying",
        )
        _play_endings(stage, told, engine)
    if naive:
        with _copy(stage) as copy:
            told.act(
                "plain",
                "The same without Trueup: a plain recount",
                "The same mistakes and traffic on a copy; repaired by SELECT count(*) and UPDATE, as by hand.",
                lambda: acts.plain(copy),
                drawing.plain,
                working="recounting by hand on a copy, under the same traffic",
            )


def _play_endings(stage: Stage, told: _Telling, engine: Trueup) -> None:
    """The second half: what goes wrong around the engine, and how it all ends."""
    drawing = told.drawing
    told.act(
        "crash",
        "Killed in the middle, and resumed",
        "Decisions and before-images are in the ledger before the first write; so a crash can be settled by proof.",
        lambda: crash.kill_and_resume(stage, engine),
        drawing.crash,
        working="starting a run, killing it, running again",
    )
    told.act(
        "collapse",
        "A source that collapsed",
        "On a copy, the truth is emptied, as a failed load would. A tool that believed it would delete every row.",
        lambda: acts.collapse(stage),
        drawing.collapse,
        working="running on a copy with an empty source",
    )
    told.act(
        "finish",
        "The end of the traffic",
        "With nothing in flight any more there is no excuse: every row has to be right.",
        lambda: crash.finish(stage, engine),
        drawing.finish,
        working="last run, last check, last recount",
    )


@contextmanager
def _copy(stage: Stage) -> Iterator[Stage]:
    """The stage that was set aside before the traffic began."""
    copy = Stage(folder=stage.folder / acts.PLAIN, seed=stage.seed, pace=stage.pace)
    try:
        yield copy
    finally:
        copy.close()


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="trueup-demo-") as name:
        yield Path(name)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does: its processes and its folder go with it."""

    def on_signal(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    with handled(on_signal, (signal.SIGTERM, signal.SIGHUP)):
        yield
