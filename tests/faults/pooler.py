"""A pooler before PostgreSQL in transaction mode: each transaction gets another of a few sessions than the one before.

It understands just enough of the protocol: where a message ends, and that a session is free when the server has
answered everything and is in no transaction. Its sessions are ordinary connections, whose sockets it reads and writes.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

#: What a server tells of itself when a client connects.
TOLD = (
    *("server_version", "server_encoding", "client_encoding", "integer_datetimes", "standard_conforming_strings"),
    *("TimeZone", "DateStyle", "IntervalStyle", "is_superuser", "session_authorization"),
)
#: The number and secret that clients get for their session: of no server's making.
KEY = struct.pack("!iI", -77, 12345)
#: Messages of a client that the server answers with ReadyForQuery.
ANSWERED = (b"Q", b"S", b"F")


class Session:
    """One of the server's sessions."""

    def __init__(self, url: str) -> None:
        self.connection = psycopg.connect(url, autocommit=True)
        self.socket = socket.socket(fileno=os.dup(self.connection.fileno()))
        self.socket.setblocking(True)

    def close(self) -> None:
        self.socket.close()
        self.connection.close()


class Messages:
    """Bytes taken apart into messages; what is left of the last one waits for the rest."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        self._rest += data
        while len(self._rest) >= 5:
            end = 1 + int(struct.unpack("!I", self._rest[1:5])[0])
            if len(self._rest) < end:
                return
            message, self._rest = self._rest[:end], self._rest[end:]
            yield message[:1], message[5:]


class Pooler:
    def __init__(self, url: str, sessions: int) -> None:
        self.url = url
        self.sessions = [Session(url) for _ in range(sessions)]
        self._idle = deque(self.sessions)
        self._free = threading.Condition()
        self._closed = False
        #: Transactions that were given a session.
        self.lent = 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def everywhere(self, *statements: str) -> None:
        """Run statements in each session, for itself, as somebody who leaves something behind."""
        for session in self.sessions:
            for statement in statements:
                session.connection.execute(statement)

    def shown(self, setting: str) -> set[str]:
        """The values that a setting has in the sessions."""
        found = [session.connection.execute(f"SHOW {setting}").fetchone() for session in self.sessions]  # type: ignore[arg-type]
        return {row[0] for row in found if row}

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._free:
            self._closed = True
            for session in self.sessions:
                session.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name=f"pooled at {self.port}", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            (length,) = struct.unpack("!I", client.recv(4, socket.MSG_WAITALL))
            client.recv(length - 4, socket.MSG_WAITALL)  # who it is, and what it wants to have set, does not matter
            client.sendall(self._greeting())
            while (data := client.recv(65536)) and not data.startswith(b"X"):
                self._transaction(client, data)

    def _greeting(self) -> bytes:
        connection = self.sessions[0].connection
        parts = [(b"R", struct.pack("!I", 0))]
        parts += [(b"S", f"{name}\0{connection.info.parameter_status(name)}\0".encode()) for name in TOLD]
        parts += [(b"K", KEY), (b"Z", b"I")]
        return b"".join(kind + struct.pack("!I", 4 + len(body)) + body for kind, body in parts)

    def _transaction(self, client: socket.socket, data: bytes) -> None:
        """One transaction of a client, which begins with `data`, in the session that was idle longest."""
        with self._free:
            self._free.wait_for(lambda: self._idle)
            session = self._idle.popleft()
            self.lent += 1
        try:
            ended = _carry(client, session.socket, data)
        except OSError:
            ended = False
        with self._free:
            if not ended:  # the client went away in the middle: what it began ends with the session
                session.close()
                if self._closed:  # and nobody would close another one
                    return
                self.sessions[self.sessions.index(session)] = session = Session(self.url)
            self._idle.append(session)
            self._free.notify()


def _carry(client: socket.socket, server: socket.socket, data: bytes) -> bool:
    """Pass everything on until the server has answered all and is in no transaction; False: the client went before."""
    asked, answered, unanswered = Messages(), Messages(), 0
    while True:
        unanswered += sum(kind in ANSWERED for kind, _ in asked.of(data))
        server.sendall(data)
        (ready, *_), _, _ = select.select([client, server], [], [])
        data = b""
        got = ready.recv(65536)
        if not got:
            return False
        if ready is client:
            data = got
            continue
        client.sendall(got)
        states = [body for kind, body in answered.of(got) if kind == b"Z"]
        unanswered -= len(states)
        if states and states[-1] == b"I" and not unanswered:
            return True


@contextmanager
def pooled(url: str, sessions: int = 3) -> Iterator[tuple[Pooler, str]]:
    """A pooler before the database at `url`, and the URL by which it is reached."""
    pooler = Pooler(url, sessions)
    at = sa.make_url(url).set(host="127.0.0.1", port=pooler.port)
    through = at.set(query={"sslmode": "disable", "gssencmode": "disable"})
    try:
        yield pooler, through.render_as_string(hide_password=False)
    finally:
        pooler.close()
