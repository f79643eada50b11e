"""One virtual environment for each peer, made on demand, outside the checkout: a peer is never a dependency of Trueup.

python bench/peers/environments.py                 # make all, say which there are
python bench/peers/environments.py --folder FOLDER
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

#: Seconds that installing one peer may take.
INSTALL_S = 600
#: Where environments are kept from one benchmark to the next.
FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trueup-bench-peers"


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """What one peer needs."""

    #: Exact pins; the first is the peer itself.
    requirements: tuple[str, ...]
    #: What has to be importable for it to count as installed.
    imports: str
    #: Anything odd about its installation, for the table; empty if nothing is.
    note: str = ""


PEERS: Mapping[str, Peer] = {
    "reladiff": Peer(
        requirements=("reladiff==0.6.0", "psycopg2-binary==2.9.13", "mysql-connector-python==26.10.0"),
        imports="reladiff, psycopg2, mysql.connector",
    ),
    "data-diff": Peer(
        requirements=(
            *("data-diff==0.11.2", "psycopg2-binary==2.9.13", "mysql-connector-python==26.10.0"),
            # Its own open range takes a release of dbt-core that fetches a parser while it is built.
            "dbt-core==1.9.11",
        ),
        imports="data_diff, psycopg2, mysql.connector",
        note="sunset by its makers; installs only with dbt-core held below 1.10",
    ),
    "datacompy": Peer(
        requirements=(
            *("datacompy==1.1.0", "polars==1.33.1", "pyarrow==26.0.1"),
            *("adbc-driver-manager==1.13.0", "adbc-driver-postgresql==1.13.0"),
        ),
        imports="datacompy, polars, adbc_driver_postgresql.dbapi",
        note="compares data frames; the database is read through ADBC",
    ),
}


class NotInstalledError(Exception):
    """A peer cannot be had; the text says why, in one line."""


def python_of(name: str, folder: Path = FOLDER) -> Path:
    """The interpreter that has this peer; makes its environment if it is not there.

    Raises NotInstalledError.
    """
    peer = PEERS[name]
    pins = sha256("\n".join((sys.version, *peer.requirements)).encode()).hexdigest()[:12]
    home = folder / f"{name}-{pins}"
    python = home / "bin" / "python"
    if not (home / "complete").exists():
        print(f"installing {name} into {home}", file=sys.stderr, flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(home)], name)
        _run([str(python), "-m", "pip", "install", "--quiet", *peer.requirements], name)
        _run([str(python), "-c", f"import {peer.imports}"], name)
        (home / "complete").touch()
    return python


def _run(command: Sequence[str], name: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"{name}: not installed within {INSTALL_S} s") from None
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if "rror" in line]
        raise NotInstalledError(f"{name}: {lines[-1][:200] if lines else 'exit code ' + str(done.returncode)}")


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--folder", type=Path, default=FOLDER, help="default: %(default)s")
    folder = made.parse_args().folder
    missing = 0
    for name, peer in PEERS.items():
        try:
            print(f"{peer.requirements[0]}: {python_of(name, folder)}")
        except NotInstalledError as problem:
            print(f"not there: {problem}")
            missing += 1
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
