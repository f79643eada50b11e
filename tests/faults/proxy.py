"""A TCP proxy before a database that can cut a connection at COMMIT: before it arrives, or before its answer does."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote

from sqlalchemy import make_url


class Proxy:
    """Passes everything on until it is armed; then the next COMMIT is the last thing that happens on its connection."""

    def __init__(self, upstream: dict[str, Any], word: bytes = b"COMMIT") -> None:
        self.upstream = upstream
        #: What the client says to commit.
        self.word = word
        #: `before`: the server never sees the COMMIT; `after`: it does, and its answer is lost. Empty: not armed.
        self.armed = ""
        #: So many COMMITs pass while it is armed, before the one that does not.
        self.passing = 0
        #: COMMITs that came by, armed or not.
        self.seen = 0
        #: Round trips: how often the client spoke after the server.
        self.trips = 0
        #: Cut each connection when the server's answer comes to these bytes: nothing from there on arrives.
        self.until = b""
        #: These bytes themselves are the last that arrive.
        self.including = False
        #: Nothing arrives any more, on either side.
        self.swallows = False
        #: Refuse new connections.
        self.down = False
        self.cuts = 0
        self.cut = threading.Event()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Cut all connections that are open."""
        for client in list(self._open):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            if self.down:
                client.close()
                continue
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        self._open.add(client)
        try:
            if self.down:  # accepted a moment before, and not among those that `drop` cut
                client.close()
                return
            self._carry(client)
        finally:
            self._open.discard(client)

    def _carry(self, client: socket.socket) -> None:
        with closing(client), contextlib.suppress(OSError), closing(self._server()) as server:
            last = server
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if self.swallows:
                        continue
                    self.trips += ready is client and last is server
                    last = ready
                    if ready is client and self.word in data and self._is_it():
                        self._cut(server, data)
                        return
                    if ready is server and self.until and self.until in data:
                        client.sendall(data[: data.index(self.until) + len(self.until) * self.including])
                        self.cuts += 1
                        return
                    (server if ready is client else client).sendall(data)

    def _is_it(self) -> bool:
        """One COMMIT more: the one to cut at?"""
        self.seen += 1
        if not self.armed:
            return False
        self.passing -= 1
        return self.passing < 0

    def _cut(self, server: socket.socket, data: bytes) -> None:
        mode, self.armed = self.armed, ""
        if mode == "after":
            server.sendall(data)
            server.recv(65536)  # the answer: committed, and nobody will know
        self.cuts += 1
        self.cut.set()

    def _server(self) -> socket.socket:
        host, port = self.upstream.get("host") or "127.0.0.1", int(self.upstream.get("port") or 5432)
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(f"{host}/.s.PGSQL.{port}")
        return server


@contextmanager
def proxied(url: str) -> Iterator[tuple[Proxy, str]]:
    """A proxy before the database at `url`, and the URL by which it is reached."""
    if url.startswith("mariadb"):
        at = make_url(url)
        proxy = Proxy({"host": at.host, "port": at.port or 3306})
        try:
            yield proxy, at.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        finally:
            proxy.close()
        return
    from psycopg.conninfo import conninfo_to_dict

    parts = conninfo_to_dict(url)
    proxy = Proxy(parts)
    password = f":{quote(str(parts['password']))}" if parts.get("password") else ""
    through = (
        f"postgresql://{quote(str(parts.get('user', 'postgres')))}{password}@127.0.0.1:{proxy.port}/{parts['dbname']}"
        "?sslmode=disable&gssencmode=disable"
    )
    try:
        yield proxy, through
    finally:
        proxy.close()
