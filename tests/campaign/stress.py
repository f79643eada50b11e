"""Hot rows and copies under many writers for many rounds, each repair next to the naive one.

    python -m tests.campaign.stress [ROUNDS]         (200)

About five minutes on two cores. Exits 1 if a repair of ours was wrong, or if a naive one was not.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests import servers
from tests.live import stress
from tests.live.harness import Counters, Docs
from tests.live.stress import Figures
from tests.live.test_stress import DECLARED, repaired_by, rows_repaired_by
from tests.own_servers import some_postgres


def main(rounds: int) -> int:
    bad = 0
    with ExitStack() as stack:
        server = stack.enter_context(some_postgres())
        one, two = (stack.enter_context(servers.scratch_database(server, f"campaign{at}")) for at in (1, 2))

        def fresh(postgres: bool) -> tuple[str, str, Path]:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            if not postgres:
                return f"sqlite:///{folder / 'one.db'}", f"sqlite:///{folder / 'two.db'}", folder
            for url in (one, two):
                servers.reset_database(url)
            return one, two, folder

        def told(figures: Figures, *, naive: bool) -> None:
            nonlocal bad
            wrong = not figures.wrong if naive else figures.wrong
            bad += bool(wrong)
            print(f"{'BAD ' if wrong else ''}{figures}", flush=True)

        for postgres in (True, False):
            kind, writers = ("postgresql", 8) if postgres else ("sqlite", 3)
            for declared in DECLARED:
                first, _, folder = fresh(postgres)
                app = Counters(first)
                with app.engine(folder, on_extra="delete", writers=declared) as engine:
                    told(
                        _counters(app, lambda e=engine: repaired_by(e), f"{kind}, {declared}", writers, rounds),
                        naive=False,
                    )
            app = Counters(fresh(postgres)[0])
            told(_counters(app, lambda a=app: stress.read_then_set(a), f"{kind}, naive", writers, rounds), naive=True)
            first, second, folder = fresh(postgres)
            docs = Docs(first, second)
            with docs.engine(folder) as engine:
                figures = stress.two_databases(
                    docs, lambda e=engine: rows_repaired_by(e), name=f"copies in {kind}", rounds=rounds
                )
                told(figures, naive=False)
            docs = Docs(*fresh(postgres)[:2])
            figures = stress.two_databases(
                docs, lambda d=docs: stress.copy_then_set(d), name=f"copies in {kind}, naive", rounds=rounds
            )
            told(figures, naive=True)
    return 1 if bad else 0


def _counters(app: Counters, repair: Callable[[], set[int]], name: str, writers: int, rounds: int) -> Figures:
    return stress.one_database(app, repair, name=name, writers=writers, rounds=rounds)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 200))
