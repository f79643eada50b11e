"""A TCP proxy before PostgreSQL that can cut a connection at COMMIT: before it arrives, or before its answer does."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import quote


class Proxy:
    """Passes everything on until it is armed; then the next COMMIT is the last thing that happens on its connection."""

    def __init__(self, upstream: dict[str, Any]) -> None:
        self.upstream = upstream
        #: `before`: the server never sees the COMMIT; `after`: it does, and its answer is lost. Empty: not armed.
        self.armed = ""
        #: Refuse new connections.
        self.down = False
        self.cuts = 0
        self.cut = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

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
        with closing(client), closing(self._server()) as server, contextlib.suppress(OSError):
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is client and self.armed and b"COMMIT" in data:
                        self._cut(server, data)
                        return
                    (server if ready is client else client).sendall(data)

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
