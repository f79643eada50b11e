"""One example being played: a folder, the command line as its user has it, and what has to come true."""

from __future__ import annotations

import argparse
import faulthandler
import io
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

from examples._kit.faults import Faults, Key
from tests.servers import ServerMissingError

#: What an example may take, seconds: of a machine that does nothing else, so its own processor time is what is counted.
LIMIT_S = 60
#: One that takes longer, on however busy a machine, hangs, seconds.
HANGS_S = 240
#: Exit code of an example whose server is not installed.
NO_SERVER = 77


class PromiseBroken(Exception):
    """Something that the example says is not so."""


@dataclass(kw_only=True)
class Stage:
    """Where an example plays. The current directory is `folder`, with `trueup.toml` in it."""

    folder: Path
    seed: int
    #: URL of a server's empty database that was given (`--postgres`), else None: everything is embedded.
    server: str | None
    #: Which variant of the example (`--with`).
    variant: str | None
    #: Show the naive way instead.
    naive: bool
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def url(self, name: str = "app") -> str:
        """The application's database: a file, or the server's."""
        return self.server or f"sqlite:///{self.folder / name}.db"

    # --- what is shown ---------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        print(f"\n{text}" if text else "")

    def trueup(self, *words: str, code: int) -> None:
        """`trueup WORDS` as a user would type it: shows what it prints. It has to end with `code`."""
        from trueup.cli import main

        print(f"\n$ trueup {' '.join(words)}", flush=True)
        out, err = io.StringIO(), io.StringIO()
        sys.argv = ["trueup", *words]
        ended: object = None
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                ended = end.code
        print(out.getvalue().rstrip(), flush=True)
        if ended != code:
            raise PromiseBroken(f"`trueup {' '.join(words)}` ended with {ended}, not {code}: {err.getvalue().strip()}")

    @contextmanager
    def serving(self) -> Iterator[None]:
        """`trueup serve` beside everything else, until the end of the `with`. It has to end well."""
        print("\n$ trueup serve &", flush=True)
        log = self.folder / "serve.log"
        with log.open("wb") as stderr:
            node = subprocess.Popen([sys.executable, "-m", "trueup", "serve"], cwd=self.folder, stderr=stderr)
            try:
                yield
            except BaseException:
                node.kill()
                print(log.read_text(encoding="utf-8"), file=sys.stderr)
                raise
            finally:
                node.terminate()
                ended = node.wait()
        if ended:
            raise PromiseBroken(f"`trueup serve` ended with {ended}: {log.read_text(encoding='utf-8')}")

    def promise(self, text: str, kept: bool) -> None:
        """A line of the result; one that is not so ends the example."""
        print(f"  {'✓' if kept else '✗'} {text}")
        if not kept:
            raise PromiseBroken(text)

    # --- what came out ---------------------------------------------------------------------------------------------

    def found(self, projection: str) -> list[Key]:
        """The rows that the engine holds to be wrong, whatever it said in print."""
        import trueup

        with trueup.load("trueup.toml") as app:
            return [row.drift.key for row in app.drift(projection, limit=100_000)]

    def score(self, found: Iterable[Key], faults: Faults | None = None) -> None:
        """What was found against what was spoilt; both have to be the same rows."""
        faults, found = faults or self.faults, list(found)
        recall, precision = faults.score(found)
        print()
        for what, times in sorted(faults.kinds().items()):
            print(f"  {times:3d} x {what}")
        print(f"  injected {len(faults.happened)}, found {len(found)}: recall {recall:.2f}, precision {precision:.2f}")
        if (recall, precision) != (1.0, 1.0):
            missed, wrong = faults.happened.keys() - set(found), set(found) - faults.happened.keys()
            raise PromiseBroken(f"not found: {sorted(missed)}; found, and not spoilt: {sorted(wrong)}")

    def end(self, wrong: int, writes: int) -> None:
        """The judge's last word: rows that are wrong, counted by plain SQL, after everything that was written."""
        print(f"\n  wrong at the end: {wrong}, after {writes} writes of the application")
        if self.naive and not wrong:
            raise PromiseBroken("the naive way did no harm: then it shows nothing")
        if not self.naive and wrong:
            raise PromiseBroken(f"{wrong} rows are wrong at the end")


def example(play: Callable[[Stage], None], file: str, *, variants: Sequence[str] = ()) -> None:
    """Run an example: `if __name__ == "__main__": example(play, __file__)`."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="an empty folder to play in; default: one that goes away")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--naive", action="store_true", help="how to break it: the way that people write by hand")
    parser.add_argument("--postgres", metavar="URL", help="an empty database to play in, instead of SQLite")
    if variants:
        parser.add_argument("--with", dest="variant", choices=variants, help="with this store")
    asked = parser.parse_args()
    if os.environ.get("TRUEUP_CONFIG"):
        parser.error("TRUEUP_CONFIG names another configuration: unset it")
    faulthandler.dump_traceback_later(HANGS_S, exit=True)
    os.environ |= {"COLUMNS": "120", "NO_COLOR": "1"}
    with tempfile.TemporaryDirectory(prefix="trueup-example-") as temporary:
        folder = (asked.folder or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            parser.error(f"{folder} is not empty")
        variant = getattr(asked, "variant", None)
        kind = "postgresql" if asked.postgres else variant
        declared = Path(file).with_name(f"trueup.{kind}.toml" if kind else "trueup.toml")
        if not declared.exists():
            parser.error(f"this example has no {declared.name}")
        shutil.copy(declared, folder / "trueup.toml")
        if asked.postgres:
            os.environ["DATABASE_URL"] = asked.postgres
        os.chdir(folder)
        stage = Stage(folder=folder, seed=asked.seed, server=asked.postgres, variant=variant, naive=asked.naive)
        try:
            play(stage)
        except PromiseBroken as broken:
            print(f"\nbroken: {broken}", file=sys.stderr)
            sys.exit(1)
        except ServerMissingError as missing:
            print(missing, file=sys.stderr)
            sys.exit(NO_SERVER)
        finally:
            os.chdir("/")
            faulthandler.cancel_dump_traceback_later()
