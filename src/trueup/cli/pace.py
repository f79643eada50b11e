"""`trueup pace`: how Trueup holds back, live; and other settings while runs go on."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from statistics import median
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from trueup.cli.answers import opened
from trueup.cli.options import FILE, AsJson, Config, Reason
from trueup.core.counted import counted
from trueup.core.pace.pressure import STALE_AFTER_S

if TYPE_CHECKING:
    from trueup import Trueup
    from trueup.pace.trial import Trial
    from trueup.store.paces import PaceRow

#: Seconds between two looks at the ledger.
EVERY_S = 1.0
#: Told by a governor longer ago than this, seconds: nobody looks at the moment.
OLD_S = 10.0

#: How long a part of a trial takes, seconds.
PART_S = 10.0

Rounds = Annotated[int, Parameter(show_default=False, help="Rounds of a trial (4), each with both settings.")]
For = Annotated[
    str,
    Parameter(
        name="--for", show_default=False, help="Only so long: `30m`. Default: until changed; of a trial, 10 s each way."
    ),
]
Once = Annotated[bool, Parameter(name="--once", negative="", show_default=False, help="Print it once, and end.")]


def pace(
    database: str | None = None,
    action: Literal["set", "clear", "trial"] | None = None,
    /,
    *settings: str,
    reason: Reason = "",
    for_: For = "",
    rounds: Rounds = 4,
    once: Once = False,
    as_json: AsJson = False,
    config: Config = FILE,
) -> int:
    """How Trueup holds back, live; `pace DB set most=1` changes it while runs go on, `pace DB clear` undoes that.

    `pace DB trial` lets runs pause now and then (or other settings hold), and shows what others feel under each.
    """
    from trueup import views_serving
    from trueup.errors import UsageError

    with opened(config, as_json=as_json) as engine:
        names = [database] if database else views_serving.paced(engine)
        if action is not None:
            wrong = bool(settings) if action == "clear" else action == "set" and not settings
            if database is None or wrong:
                raise UsageError(
                    "name a database and settings: `trueup pace app set most=1`, `trueup pace app clear`, "
                    "`trueup pace app trial`"
                )
            if action == "clear" and for_:
                raise UsageError("--for belongs to `set` and `trial`: what is declared holds until something is set")
            if action == "trial":
                return _try(engine, database, settings, reason, for_, rounds, as_json=as_json)
            return _change(engine, database, settings, reason, for_, as_json=as_json)
        if not names:
            raise UsageError('no database is paced: declare how much others may be slowed, `protect = "10%"`')
        if as_json:
            from trueup.cli.tables import print_json

            print_json({"databases": views_serving.paces(engine, names)})
        elif once or not sys.stdout.isatty():
            print("\n".join(line for name in names for line in _all(engine, name)))
        else:
            _live(engine, names)
    return 0


def _pairs(settings: tuple[str, ...]) -> dict[str, str]:
    from trueup.errors import UsageError

    pairs = dict(text.partition("=")[::2] for text in settings)
    if len(pairs) < len(settings) or not all(pairs.values()):
        raise UsageError("settings are NAME=VALUE, each once: `most=1 protect=5%`")
    return pairs


def _seconds(for_: str) -> float | None:
    from trueup.core.declared import parse_duration
    from trueup.errors import UsageError

    try:
        return parse_duration(for_) if for_ else None
    except ValueError as wrong:
        raise UsageError(f"--for: {wrong}") from None


def _try(
    engine: Trueup, database: str, settings: tuple[str, ...], reason: str, for_: str, rounds: int, *, as_json: bool
) -> int:
    part_s = PART_S if (seconds := _seconds(for_)) is None else seconds
    trial = engine.try_pace(database, reason=reason, rounds=rounds, part_s=part_s, **_pairs(settings))
    if as_json:
        from trueup.cli.tables import print_json

        print_json(trial.to_dict())
    else:
        print("\n".join(drawn_trial(trial)))
    return 0


def drawn_trial(trial: Trial) -> list[str]:
    """A trial in lines."""
    told = trial.to_dict()
    lines = [
        f"{trial.database}: {told['rounds']} rounds, {trial.part_s:g} s each way, in turn",
        f"{'':24}{'as it is':>12}{trial.instead:>24}   ratio, by round",
    ]
    rows = [("ours in flight", "in_flight", ".2f"), ("transactions a second", "commits_per_s", ",.0f")]
    rows += [(f"canary, {name}, ms", name, ".2f") for name in told["slowed"]]
    by_round = {**told["slowed_by_round"], "commits_per_s": told["commits_by_round"]}
    for words, name, form in rows:
        sides = (told["as_it_is"][name], told["instead"][name])
        values = ["not told" if value is None else format(value, form) for value in sides]
        line = f"  {words:22}{values[0]:>12}{values[1]:>24}"
        if rounds := by_round.get(name):
            line += f"   x {median(rounds):.2f}, {min(rounds):.2f} to {max(rounds):.2f}"
        lines.append(line)
    lines.append(f"  The range of {told['rounds']} rounds holds the ratio with {told['certainty']:.0%} certainty.")
    if idle := trial.at_work.count(False):
        lines.append(
            f"  In {idle} of {told['rounds']} rounds nobody was at work any more: they say nothing of what runs cost. "
            f"Try again while one goes on."
        )
    return lines


def _change(engine: Trueup, database: str, settings: tuple[str, ...], reason: str, for_: str, *, as_json: bool) -> int:
    from trueup import views_serving

    engine.set_pace(database, reason=reason, for_s=_seconds(for_), **_pairs(settings))
    if as_json:
        from trueup.cli.tables import print_json

        print_json({"databases": [views_serving.pace(engine, database)]})
        return 0
    what = ", ".join(settings) if settings else "as declared"
    print(f"{database}: {what}{f' for {for_}' if for_ else ''}; nodes that work follow within seconds")
    for window in views_serving.windows(engine, database)[-1:]:
        if window.get("closed"):
            print(f"  hours     {_hours(window)}: nothing runs until they are over, whatever is set")
    return 0


def _live(engine: Trueup, names: list[str]) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(auto_refresh=False) as live:
        while not engine.stop_after_segment.asked:
            lines = [line for name in names for line in _all(engine, name)]
            live.update(Text("\n".join(folded(lines, live.console.width))), refresh=True)
            time.sleep(EVERY_S)


def folded(lines: Sequence[str], width: int) -> list[str]:
    """Lines that fit the screen: what does not goes on below where the words begin."""
    return [part for line in lines for part in wrap(line, width, subsequent_indent=" " * 12, break_on_hyphens=False)]


def _all(engine: Trueup, name: str) -> list[str]:
    from trueup import views_serving

    lines = drawn(name, engine.pace(name))
    lines += [f"  hours     {_hours(window)}" for window in views_serving.windows(engine, name)]
    return [*lines, *map(_finish, views_serving.forecasts(engine, name))]


def _hours(window: dict[str, Any]) -> str:
    """A declared window that is open: `Sat,Sun (Europe/Berlin): profile = night, most = 2`."""
    said = {name: value for name, value in window.items() if name not in ("when", "timezone", "closed")}
    words = ["closed"] if window.get("closed") else _settings(said)
    return f"{window['when']} ({window['timezone']}): {', '.join(words)}"


def _finish(run: dict[str, Any]) -> str:
    left = "not known yet when" if run["left_s"] is None else "in {} to {}".format(*map(_span, run["left_s"]))
    return f"  {run['projection']}: {run['done']:,} of {run['planned']:,} segments read, the last {left}"


def drawn(name: str, row: PaceRow | None) -> list[str]:
    """A database's pacing in lines."""
    if row is None:
        return [f"{name}: nobody has worked on it yet"]
    told = row.told
    if not told:
        return [f"{name}: nobody has worked on it yet", *_set(row)]
    idle = row.nodes == 0 or row.age_s > OLD_S
    state = (
        f"idle for {_span(row.age_s)}, was {told['mode']}" if idle else f"{told['mode']} for {_span(told['since_s'])}"
    )
    whose = {True: " (ours)", False: " (not ours)", None: ""}[told["ours"] if told["mode"] == "degraded" else None]
    lines = [f"{name}: {state}: {told['reason']}{whose}"]
    lines.append(
        f"  load      {row.u:.2f} statements in flight (minimum {told['floor']:g}, ceiling {told['ceiling']:.2f}, most "
        f"{told['most']:g}), of {row.statement_s * 1000:.0f} ms"
        + (f"; next change not before {_span(told['next_s'])}" if told["next_s"] >= 1 else "")
    )
    lines.append(f"  effect    {_effect(told)}")
    if told["pressure"] is None:
        lines.append("  pressure  not known: none of its signals is to be had")
    elif told["signal"]:
        value = _value(told["signals"].get(told["signal"]))
        lines.append(f"  pressure  {told['pressure']:.2f}: {told['signal']} {value}")
    lines.append(f"  credit    {told['credit_s'] * 1000:.0f} ms; {counted(row.nodes, 'node')} at work")
    lines += _set(row)
    return [*lines, *(f"  not available: {what}: {why}" for what, why in told["lacking"].items())]


def _effect(told: dict[str, Any]) -> str:
    on, off = told["readings"]
    readings = f"{on} readings with ours in flight, {off} without"
    if told["slowed"] is None:
        return f"not known yet: {readings}"
    return (
        f"the slowest twentieth of others is slowed by {told['slowed']:.0%} (budget {told['budget']:.0%}); {readings}"
    )


def _value(signal: Mapping[str, Any] | None) -> str:
    """Of a signal: what was seen last, unless that is too old to count."""
    if signal is None or signal["age_s"] > STALE_AFTER_S:
        return "not to be had"
    return f"{signal['value']:.3g} (too much: {signal['soft']:g}, emergency: {signal['hard']:g})"


def _settings(given: Mapping[str, Any]) -> list[str]:
    """Settings with their values as they are typed: `pause = true`, `most = 1`."""

    def typed(value: Any) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        return f"{value:g}" if isinstance(value, float) else str(value)

    return [f"{name} = {typed(value)}" for name, value in given.items()]


def _set(row: PaceRow) -> list[str]:
    changed = row.override.model_dump(exclude_none=True, exclude_defaults=True)
    said = _settings(changed)
    said += [f"{name} (not known here)" for name in row.unknown]
    if not said:
        return []
    left = "" if row.override_left_s is None else f" for another {_span(row.override_left_s)}"
    why = f": {row.override_why}" if row.override_why else ""
    return [f"  set       {', '.join(said)} by {row.override_by}{left}{why}"]


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
