"""Commands to a Groonga server over HTTP. Answers come as MessagePack: in JSON its floats are rounded."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

import msgpack

from trueup.core.projection import Database
from trueup.errors import BrokenRead, ConfigError, ConnectionFailed, DataProblem, DesignProblem, Transient
from trueup.urls import address

#: Longest wait for the answer to a write, seconds: so long `stop` may have to wait at most.
ANSWER_S = 10.0
#: Return codes that pass by themselves: no memory, a lock that was not to be had, interrupted.
_PASSING = frozenset({-4, -11, -12, -16, -35, -37})


class Groonga:
    """One server. Each thread has a connection of its own."""

    def __init__(self, name: str, database: Database) -> None:
        self.where = f"databases.{name}"
        self.timeout_s = database.statement_timeout
        self._url = database.url
        self._here = threading.local()
        self._open: list[http.client.HTTPConnection] = []

    def ask(self, command: str, arguments: Mapping[str, str] | None = None, *, timeout_s: float | None = None) -> Any:
        """The body of the answer to a command that reads or deletes.

        Raises ConnectionFailed, Transient, BrokenRead or DesignProblem.
        """
        body = urlencode({**(arguments or {}), "output_type": "msgpack"}, errors="surrogateescape")
        code, told, found = self._answer(command, "", body, "application/x-www-form-urlencoded", timeout_s)
        if code:
            raise self._refused(code, f"{command}: {told}")
        return found

    def load(self, table: str, row: Mapping[str, Any], only_if: str) -> bool:
        """Write a row if it is not there, or if `only_if` holds for it; was it written?

        Raises DataProblem for a value that the server refuses, else as `ask` does.
        """
        query = urlencode({"table": table, "ifexists": only_if, "output_type": "msgpack"}, errors="surrogateescape")
        body = json.dumps([row], allow_nan=False)
        code, told, loaded = self._answer("load", query, body, "application/json", ANSWER_S)
        if code and code not in _PASSING:
            raise DataProblem(f"{self.where}: the row was refused: {told}")
        if code:
            raise self._refused(code, f"load: {told}")
        return bool(loaded == 1)

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()

    def _refused(self, code: int, told: str) -> Exception:
        words = f"{self.where}: {told} ({code})"
        return Transient(words) if code in _PASSING else DesignProblem(words)

    def _answer(self, command: str, query: str, body: str, type_: str, timeout_s: float | None) -> tuple[int, str, Any]:
        """Return code, its message, and what is told."""
        connection, prefix, headers = self._connection()
        path = f"{prefix}/{command}" + (f"?{query}" if query else "")
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.settimeout(min(timeout_s or self.timeout_s, self.timeout_s))
        except OSError as error:
            connection.close()
            raise ConnectionFailed(f"{self.where}: it cannot be reached: {error}") from error
        try:
            connection.request("POST", path, body.encode(), {**headers, "Content-Type": type_})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise Transient(f"{self.where}: {command}: the connection broke: {error!r}") from error
        return self._understood(command, response.status, content)

    def _understood(self, command: str, status: int, content: bytes) -> tuple[int, str, Any]:
        if status in (401, 403):
            raise ConnectionFailed(f"{self.where}: {command}: {status}")
        try:
            head, *rest = msgpack.unpackb(content, unicode_errors="surrogateescape")
            code = int(head[0])
        except (ValueError, TypeError, IndexError, msgpack.UnpackException):
            raise BrokenRead(f"{self.where}: {command}: what came back ({status}) is no answer of Groonga") from None
        if code == 0 and (status != 200 or not rest):
            raise BrokenRead(f"{self.where}: {command}: an answer ({status}) without contents")
        return code, str(head[3]) if len(head) > 3 else "", rest[0] if rest else None

    def _connection(self) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        try:
            parts = address(self._url.get_secret_value())
        except ValueError as wrong:
            raise ConfigError(f"{self.where}.url: {wrong}") from None
        headers = {}
        if parts.username:
            told = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(told.encode()).decode()
        connection: http.client.HTTPConnection | None = getattr(self._here, "connection", None)
        if connection is None:
            connection = self._here.connection = self._connect(parts.scheme, parts.hostname, parts.port, parts.query)
            self._open.append(connection)
        return connection, parts.path.rstrip("/") or "/d", headers

    def _connect(self, scheme: str, host: str | None, port: int | None, query: str) -> http.client.HTTPConnection:
        transport = scheme.partition("+")[2] or "http"
        options = dict(parse_qsl(query))
        unknown = set(options) - {"ssl_ca"}
        if transport not in ("http", "https") or not host or unknown:
            raise ConfigError(
                f"{self.where}.url: it is not of the form groonga://host:10041 or groonga+https://host:10041?ssl_ca=FILE"
            )
        if transport == "https":
            context = ssl.create_default_context(cafile=options.get("ssl_ca"))
            return http.client.HTTPSConnection(host, port or 10041, context=context, timeout=10.0)
        return http.client.HTTPConnection(host, port or 10041, timeout=10.0)


def rows_of(told: Any, names: Sequence[str], where: str) -> tuple[int, list[list[Any]]]:
    """How many rows match, and those of this page.

    Raises BrokenRead if they have other columns than were asked for: Groonga leaves out a column that it does not know.
    """
    try:
        (hits,), columns, *rows = told[0]
        found = [column[0] for column in columns]
    except (ValueError, TypeError, IndexError):
        raise BrokenRead(f"{where}: what came back is no answer to a select") from None
    if found != list(names):
        raise BrokenRead(f"{where}: columns {', '.join(names)} were asked for, and {', '.join(found)} came")
    return hits, rows
