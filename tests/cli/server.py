"""Runs `trueup` commands in processes of their own, without paying for the imports each time: imports once, and forks.

stdin   one JSON line a command: {"arguments": [...], "folder": ..., "environment": {...}, "out": file, "err": file};
        with "begin": true it is not waited for; {"ended": pid} asks whether it has ended
stdout  one JSON line each: its exit code; its process id; its exit code, or null
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import sqlite3
import sys
import tempfile
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from tests import compiling

#: What is run once before the first fork, so that its imports and compiled statements are there.
USUAL = (["--help"], ["check"], ["plan", "p"], ["run"], ["status"], ["runs"], ["show", "p"], ["check", "--json"])
CONFIGURATION = """
[databases.app]
url = "sqlite:///app.db"
[projections.p]
source = { database = "app", table = "src" }
target = { database = "app", table = "tgt" }
key = ["id"]
writers = "same_transaction"
"""


def serve() -> None:
    warm_up()
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)


def answer(asked: dict[str, Any]) -> int | None:
    if "ended" in asked:
        gone, status = os.waitpid(asked["ended"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if gone else None
    child = os.fork()
    if child == 0:
        command(asked)
    if asked.get("begin"):
        return child
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def warm_up() -> None:
    """The usual commands in this process: each of them would take longer to begin than it takes."""
    compiling.once()
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere:
        os.chdir(folder)
        Path("trueup.toml").write_text(CONFIGURATION)
        with closing(sqlite3.connect("app.db")) as c:
            for table, n in (("src", 1), ("tgt", 2)):
                c.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, n INTEGER, email TEXT)")
                c.execute(f"INSERT INTO {table} VALUES (1, {n}, NULL), ({n + 1}, 0, 'x')")
            c.commit()
        from trueup.cli import main

        for arguments in USUAL:
            sys.argv = ["trueup", *arguments]
            with redirect_stdout(nowhere), redirect_stderr(nowhere), suppress(SystemExit):
                main()
        os.chdir(here)
    gc.collect()
    gc.freeze()  # the children would look through all of it, again and again


def command(asked: dict[str, Any]) -> None:
    """In the child: become `trueup ARGUMENTS`, with its own folder, environment and files; does not return."""
    code = 70  # what no test expects
    try:
        os.chdir(asked["folder"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        tempfile.tempdir = None  # the server's own
        for number, name in ((1, "out"), (2, "err")):
            file = os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)  # waits for a pipe's reader
            os.dup2(file, number)
            os.close(file)
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
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    serve()
