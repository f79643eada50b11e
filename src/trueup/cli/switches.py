"""Commands that halt a projection and let it go on."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from trueup.cli.answers import opened
from trueup.cli.options import FILE, Config, Reason


def pause(name: str, /, *, reason: Reason = "", config: Config = FILE) -> int:
    """Halt runs of a projection at the next segment border."""
    with opened(config) as engine:
        engine.pause(name, reason=reason)
    print(f"{name}: paused; `trueup resume {name}` goes on")
    return 0


def resume(name: str, /, *, config: Config = FILE) -> int:
    """Undo `pause` and `stop`."""
    with opened(config) as engine:
        engine.resume(name)
    print(f"{name}: may run")
    return 0


def stop(
    name: str | None = None,
    /,
    *,
    all_: Annotated[
        bool, Parameter(name="--all", negative="", show_default=False, help="All, running backfills too.")
    ] = False,
    reason: Reason = "",
    config: Config = FILE,
) -> int:
    """Stop a projection: when this returns, no write is in flight, and none begins until `resume`."""
    from trueup.errors import UsageError

    if (name is None) is not all_:
        raise UsageError("name one projection to stop, or say --all")
    with opened(config) as engine:
        chosen = engine.stop(*([] if name is None else [name]), reason=reason)
    for stopped in chosen:
        print(f"{stopped}: stopped; no write is in flight. `trueup resume {stopped}` allows runs again")
    return 0
