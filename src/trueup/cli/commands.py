"""The application and all its commands: one function a command, whose signature and docstring are its help.

The module of a command is imported when the command is called, or help is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, Group

from trueup._version import __version__
from trueup.cli import garbage

BEGIN = Group("Begin", sort_key=0)
LOOP = Group("Find and repair", sort_key=1)
KNOW = Group("Know", sort_key=2)
SWITCH = Group("Switches", sort_key=3)

#: Commands by the group that the help lists them in; a command has the name of its function, or of its application.
COMMANDS: dict[Group, tuple[str, ...]] = {
    BEGIN: (
        "trueup.cli.begin:init",
        "trueup.cli.begin:discover",
    ),
    LOOP: (
        "trueup.cli.accepting:accept",
        "trueup.cli.backfill:backfill",
        "trueup.cli.loop:check",
        "trueup.cli.loop:run",
        "trueup.cli.loop:plan",
        "trueup.cli.loop:apply",
        "trueup.cli.loop:show",
        "trueup.cli.loop:diff",
        "trueup.cli.plans:approve",
        "trueup.cli.plans:plans",
        "trueup.cli.plans:rollback",
        "trueup.cli.serving:serve",
        "trueup.cli.serving:worker",
        "trueup.cli.serving:request",
    ),
    KNOW: (
        "trueup.cli.accepting:accepted",
        "trueup.cli.alerts:alerts",
        "trueup.cli.audit:audit",
        "trueup.cli.backfill:definitions",
        "trueup.cli.doctor:doctor",
        "trueup.cli.know:status",
        "trueup.cli.know:queue",
        "trueup.cli.know:nodes",
        "trueup.cli.know:triggers",
        "trueup.cli.know:runs",
        "trueup.cli.know:drift",
        "trueup.cli.know:explain",
        "trueup.cli.quarantine:quarantine",
    ),
    SWITCH: (
        "trueup.cli.pace:pace",
        "trueup.cli.switches:pause",
        "trueup.cli.switches:resume",
        "trueup.cli.switches:stop",
        "trueup.cli.token:token",
    ),
}

app = App(
    name="trueup",
    version=__version__,
    version_flags=["--version"],
    help="Find drift between derived state and its source of truth, confirm it, repair it safely, prove it.",
    help_format="plaintext",
    help_epilogue="Exit codes: 0 in sync or repaired, 1 drift, 2 usage or configuration, 3 inconclusive, 4 refused.",
    # Ctrl-C is answered by `main`, which says what it means; cyclopts would end without a word.
    suppress_keyboard_interrupt=False,
)

for group, paths in COMMANDS.items():
    for path in paths:
        app.command(path, group=group)

# The demo has its help here: the list of commands shows it without importing what it needs.
app.command(
    "trueup.demo.story:demo",
    group=BEGIN,
    help="The whole story on real data, with live traffic, in under a minute. Fails if a promise fails.\n\n"
    "A month of flights, two projections of it, a projector with bugs: Trueup finds the drift, repairs it while the "
    "traffic goes on, is killed in the middle and resumes, and refuses a source that collapsed. Needs no database and "
    "leaves nothing behind.",
)


def app_for(arguments: Sequence[str]) -> App:
    """The application, with what help needs if it is asked for or nothing is called."""
    called = arguments[0] if arguments else ""
    if called == "demo":  # it knows nothing of this package
        garbage.works()
    if called in app and not {*app.help_flags} & {*arguments}:
        return app
    for paths in COMMANDS.values():
        for path in paths:
            _ = app[path.rpartition(":")[2]]  # imports it: a list says nothing of what a command does that is not
    if not sys.stdout.isatty():  # frames are for people; where nobody watches, plain text also starts faster
        from trueup.cli.help import PlainHelp

        app.help_formatter = PlainHelp()
    return app
