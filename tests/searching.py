"""Search engines that tests start for themselves, on free ports, with data that goes away with them.

`osmem-server` is a wheel that speaks OpenSearch's protocol (documents, versions, points in time, mappings); it is
neither OpenSearch nor Elasticsearch. Groonga is the search engine itself, from Debian's package.
"""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers import START_S, STARTED, ServerMissingError, free_port, not_installed


@contextmanager
def started_opensearch() -> Iterator[str]:
    """URL of a server of our own."""
    try:
        from osmem_server import resolve_binary

        program = resolve_binary()
    except Exception as e:  # not installed, or no program for this machine
        raise ServerMissingError(f"opensearch: the wheel osmem-server is not there: {e}") from None
    port = free_port()
    with _running([program, "--addr", f"127.0.0.1:{port}", "--no-ja"], port, "/"):
        yield f"opensearch://127.0.0.1:{port}"


def reset_opensearch(url: str) -> None:
    """Empty a server that we started: all indexes go."""
    address = url.replace("opensearch://", "http://")
    for index in _answer(f"{address}/_cat/indices?format=json"):
        _answer(f"{address}/{index['index']}", method="DELETE")


@contextmanager
def started_groonga(home: Path) -> Iterator[str]:
    """URL of a database of our own."""
    if why := not_installed("groonga"):
        raise ServerMissingError(why)
    program, database = STARTED["groonga"][0], str(home / "db")
    subprocess.run([program, "-n", database, "status"], stdout=subprocess.DEVNULL, check=True)
    port = free_port()
    serve = ["-s", "--protocol", "http", "--port", str(port), "--bind-address", "127.0.0.1"]
    log = ["--log-path", str(home / "log"), "--cache-limit", "0"]
    with _running([program, *serve, *log, database], port, "/d/status"):
        yield f"groonga://127.0.0.1:{port}"


def reset_groonga(url: str) -> None:
    """Empty a database that we started."""
    for table in groonga_do(url, "table_list")[1:]:
        groonga_do(url, "table_remove", name=table[1], dependent="yes")


def groonga_do(url: str, command: str, rows: list[dict[str, Any]] | None = None, **arguments: Any) -> Any:
    """The body of the answer to a command."""
    address = url.replace("groonga://", "http://")
    query = urllib.parse.urlencode(arguments)
    return _answer(f"{address}/d/{command}?{query}", body=None if rows is None else json.dumps(rows))[1]


@contextmanager
def _running(command: list[str], port: int, path: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + START_S
        while True:
            try:
                _answer(f"http://127.0.0.1:{port}{path}")
                break
            except urllib.error.URLError:
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise ServerMissingError(f"{command[0]} did not start") from None
                time.sleep(0.02)
        yield
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()


def _answer(url: str, *, method: str | None = None, body: str | None = None) -> Any:
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())
