"""Is `load --ifexists` of Groonga one step?   python -m tests.campaign.groonga [CLIENTS] [SECONDS]

Each client reads a number, and writes it plus one if it still is that. If checking and writing were one step, the
number would always be what was acknowledged. Now and then it is less, on a busy machine rather than on a quiet one: so
repairs of Groonga are CONVERGENT. That a run loses none proves nothing.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.searching import groonga_do, started_groonga


def adding(port: int, seconds: float, done: multiprocessing.Queue[tuple[int, int]]) -> None:
    """Add ones for a while over one connection; how many were acknowledged, and tried."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    acknowledged = tried = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        told = asked(connection, "select", table="Rows", filter="_key == 1", output_columns="n", cache="no")
        n = told[0][2][0]
        row = json.dumps([{"_key": 1, "n": n + 1}])
        acknowledged += asked(connection, "load", row, table="Rows", ifexists=f"n == {n}")
        tried += 1
    done.put((acknowledged, tried))


def asked(connection: http.client.HTTPConnection, command: str, rows: str | None = None, **arguments: str) -> Any:
    path, headers = f"/d/{command}?{urlencode(arguments)}", {"Content-Type": "application/json"}
    connection.request("GET" if rows is None else "POST", path, rows, headers)
    return json.loads(connection.getresponse().read())[1]


def number(url: str) -> int:
    found = groonga_do(url, "select", table="Rows", filter="_key == 1", output_columns="n", cache="no")
    return int(found[0][2][0])


def main(clients: int = 8, seconds: float = 20) -> int:
    with tempfile.TemporaryDirectory() as folder, started_groonga(Path(folder)) as url:
        groonga_do(url, "table_create", name="Rows", flags="TABLE_PAT_KEY", key_type="Int64")
        groonga_do(url, "column_create", table="Rows", name="n", flags="COLUMN_SCALAR", type="Int64")
        groonga_do(url, "load", [{"_key": 1, "n": 0}], table="Rows")
        done: multiprocessing.Queue[tuple[int, int]] = multiprocessing.Queue()
        workers = [
            multiprocessing.Process(target=adding, args=(urlsplit(url).port, seconds, done)) for _ in range(clients)
        ]
        for worker in workers:
            worker.start()
        counts = [done.get() for _ in workers]
        for worker in workers:
            worker.join()
        acknowledged, tried = (sum(column) for column in zip(*counts, strict=True))
        lost = acknowledged - number(url)
    print(f"{clients} clients, {seconds:g} s: {tried:,} tried, {acknowledged:,} acknowledged, {lost} of them lost")
    return 0


if __name__ == "__main__":
    sys.exit(main(*(int(argument) for argument in sys.argv[1:])))
