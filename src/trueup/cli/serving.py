"""Commands that keep running: schedules and triggers are looked after, runs go on by themselves."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from trueup.cli import garbage
from trueup.cli.answers import opened, parse_key
from trueup.cli.options import FILE, AsJson, Config, KeyTexts, Reason
from trueup.signals import handled

if TYPE_CHECKING:
    from trueup import Trueup
    from trueup.core.api_settings import ApiSettings
    from trueup.serve import Node

LogAs = Annotated[Literal["lines", "json"], Parameter(name="--log", help="How log lines are written, on stderr.")]
Level = Annotated[
    Literal["debug", "info", "warning", "error"], Parameter(name="--log-level", help="The least that is told.")
]
Listen = Annotated[
    str, Parameter(name="--listen", show_default=False, help="Take requests over HTTP here: `127.0.0.1:8765`.")
]


def serve(*, listen: Listen = "", log: LogAs = "lines", log_level: Level = "info", config: Config = FILE) -> int:
    """Run projections by themselves, on schedules and by events, until SIGTERM or Ctrl-C ends it at the next border.

    Any number of nodes may serve one ledger on PostgreSQL; with SQLite, any number of processes of one machine. With
    `[trueup.api]` or `--listen` it takes requests over HTTP as well.
    """
    return _serve(config, log, log_level, listen)


def worker(*, log: LogAs = "lines", log_level: Level = "info", config: Config = FILE) -> int:
    """Run what other nodes ask for: no schedules, no events, only the queue. Adds capacity; ends as `serve` does."""
    return _serve(config, log, log_level, None)


def _serve(config: Config, log: LogAs, log_level: Level, listen: str | None) -> int:
    """`listen`: where requests are taken, empty: as declared; None: it only works off the queue."""
    from functools import partial
    from pathlib import Path

    import trueup
    from trueup import config as configuration
    from trueup.observe.log import Logged, to_stderr
    from trueup.serve import Node

    to_stderr(as_json=log == "json", level=log_level)
    declared = configuration.load(Path(config))
    opening = partial(trueup.load, config, progress=Logged())
    settings = None if listen is None else _api(declared.settings.api, listen)
    node = Node(opening, workers=declared.serve.workers, asks=listen is not None)
    with _ended_by_signals(node), _requests_taken(opening, settings, node):
        garbage.works()
        node.serve(declared.serve.poll)
    return 0


def _api(declared: ApiSettings | None, listen: str) -> ApiSettings | None:
    """Where requests are taken; None: nowhere. Raises UsageError."""
    from trueup.core.api_settings import ApiSettings
    from trueup.errors import UsageError

    if not listen:
        return declared
    try:
        return (declared or ApiSettings()).listening(listen)
    except ValueError as error:
        raise UsageError(f"--listen: {error}") from None


def _requests_taken(
    opening: Callable[[], Trueup], settings: ApiSettings | None, node: Node
) -> AbstractContextManager[object]:
    """Around the node's loop. Raises ConfigError where it cannot be."""
    if settings is None:
        return nullcontext()
    from trueup.errors import ConfigError

    try:
        from trueup.api.server import served
    except ModuleNotFoundError as missing:
        raise ConfigError(f"trueup.api: {missing.name} is missing; pip install 'trueup[api]'") from missing
    return served(opening, settings, looping=node.goes_on, caused=node.caused)


def request(name: str, /, *, key: KeyTexts = (), reason: Reason, as_json: AsJson = False, config: Config = FILE) -> int:
    """Ask for what a projection does by itself: `trueup serve` carries it out, merged with what waits already."""
    from trueup import views
    from trueup.cli.tables import print_json

    with opened(config, as_json=as_json) as engine:
        asked = engine.request(name, keys=[parse_key(text) for text in key] or None, reason=reason)
        found, served = engine.queue.find(asked), views.served(engine)
    if as_json:
        print_json({"request": asked} if found is None else views.queued(found))
        return 0
    print(f"{name}: {asked} waits; `trueup queue {name}` tells what becomes of it")
    if not served:
        print("no node serves just now: `trueup serve` begins with it", file=sys.stderr)
    return 0


@contextmanager
def _ended_by_signals(node: Node) -> Iterator[None]:
    """The first signal ends runs at their next border, the second ends the process: what is open is settled later."""

    def on_signal(_number: int, _frame: object) -> None:
        if node.stopping:
            os._exit(3)
        # A thread of its own: the one that was interrupted may hold what `stop` needs.
        threading.Thread(target=node.stop, daemon=True).start()

    with handled(on_signal):
        yield
