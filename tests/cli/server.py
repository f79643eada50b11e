"""Runs `trueup` commands in processes of their own, without paying for the imports each time: imports once, and forks.

stdin   one JSON line a command: {"arguments": [...], "folder": ..., "environment": {...}, "out": file, "err": file}
stdout  one JSON line each: its exit code
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def serve() -> None:
    import alembic.command
    import sqlglot

    import trueup.adapters.sqlite
    import trueup.app
    import trueup.cli.commands
    import trueup.cli.show
    import trueup.cli.tables

    del alembic, sqlglot, trueup
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            command(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)


def command(asked: dict[str, Any]) -> None:
    """In the child: become `trueup ARGUMENTS`, with its own folder, environment and files; does not return."""
    code = 70  # what no test expects
    try:
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.argv = ["trueup", *asked["arguments"]]
        from trueup.cli import main

        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 70
        except BaseException:
            sys.excepthook(*sys.exc_info())
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
