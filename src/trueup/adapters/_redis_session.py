"""Connections to a Redis server: one at a time for what belongs together, never connected anew in the middle of it.

redis-py's own client sends a command again, on a new connection, when the first one broke. A connection that watches
keys must not be replaced so: the new one watches nothing. Its answer to a lost EXEC would be "a watched key changed",
which is not known. So commands are sent here, once, and what is lost is said to be lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import (
    ConnectionError as Lost,
)
from redis.exceptions import (
    TimeoutError as TimedOut,
)
from redis.retry import Retry

from trueup.core.projection import Database
from trueup.errors import ConfigError, ConnectionFailed, DesignProblem, Transient, TrueupError
from trueup.urls import for_redis

#: A command and its arguments.
Command = Sequence[str | bytes | int]
#: Least version: before 6.0.9 EXEC goes on where a watched key expired, and would make it anew for ever.
VERSION = (6, 2)
#: Sections of INFO that a `Server` is made of.
SECTIONS = ("server", "replication", "memory", "cluster", "persistence")
#: Longest wait for one answer while a unit is repaired, seconds: so long `stop` may have to wait at most.
ANSWER_S = 10.0
#: Answers that say: later, or elsewhere; the command was not carried out.
PASSING = (BusyLoadingError, ClusterDownError, MasterDownError, MovedError, AskError, TryAgainError)
#: Codes of such answers that the driver has no class for.
_PASSING_CODES = ("MISCONF", "NOREPLICAS", "BUSY")


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """What a server says of itself."""

    #: Changes when another process, or another history of the data, takes its place.
    identity: tuple[str, str]
    role: str
    version: str
    #: What it does when memory is short.
    policy: str
    cluster: bool
    #: Is each write appended to a file?
    kept: bool

    @property
    def evicts_all(self) -> bool:
        """May any key go away by itself?"""
        return self.policy.startswith("allkeys")


class Session:
    """One connection, from taking to giving back."""

    def __init__(self, connection: Any, where: str) -> None:
        self._connection = connection
        self._where = where
        self._lost = False

    def ask(self, *command: str | bytes | int) -> Any:
        """The answer to one command."""
        (answer,) = self.send([command])
        if isinstance(answer, RedisError):
            raise translate(answer, self._where)
        return answer

    def send(self, commands: Sequence[Command]) -> list[Any]:
        """The answers to commands that are sent together; one that was refused answers with its error.

        Raises Transient if the connection breaks: which of them were carried out is not known then.
        """
        if self._lost:
            raise Transient(f"{self._where}: the connection is gone")
        if not commands:
            return []
        answers = []
        try:
            self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
            for _ in commands:
                try:
                    answers.append(self._connection.read_response())
                except ResponseError as refused:
                    answers.append(refused)
        except (RedisError, OSError) as error:
            self.drop()
            raise translate(error, self._where) from error
        passing = next((answer for answer in answers if isinstance(answer, PASSING)), None)
        if passing is not None:  # refused before anything was done
            raise translate(passing, self._where)
        return answers

    def drop(self) -> None:
        """Close it, with all that is queued and not carried out."""
        self._lost = True
        self._connection.disconnect()

    def translated(self, error: RedisError) -> TrueupError:
        """An error that was the answer to a command."""
        return translate(error, self._where)

    def server(self) -> Server:
        """What the server says of itself now."""
        told: dict[str, str] = {}
        for part in self.send([("INFO", section) for section in SECTIONS]):
            if isinstance(part, RedisError):
                raise translate(part, self._where)
            told |= told_by(part)
        return Server(
            identity=(told.get("run_id", ""), told.get("master_replid", "")),
            role=told.get("role", ""),
            version=told.get("valkey_version") or told.get("redis_version", ""),
            policy=told.get("maxmemory_policy", ""),
            cluster=told.get("cluster_enabled") == "1",
            kept=told.get("aof_enabled") == "1",
        )


class Sessions:
    """Connections to one server."""

    def __init__(
        self,
        name: str,
        database: Database,
        *,
        host: str | None = None,
        port: int | None = None,
        answer_s: float = ANSWER_S,
    ) -> None:
        """`host`, `port`: of another node of the declared one's cluster. `answer_s`: longest wait for an answer."""
        self.where = f"databases.{name}"
        other = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
        try:
            self._pool = redis.ConnectionPool.from_url(
                for_redis(database.url.get_secret_value()),
                protocol=2,  # doubles as the digits that the server writes
                decode_responses=False,
                client_name="trueup",
                retry=Retry(NoBackoff(), 0),
                socket_connect_timeout=10.0,
                socket_timeout=min(database.statement_timeout, answer_s),
            )
            self._pool.connection_kwargs.update(other)
        except (ValueError, TypeError) as wrong:
            raise ConfigError(f"{self.where}.url: {wrong}") from None

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A connection for what belongs together."""
        try:
            connection = self._pool.get_connection()
        except (RedisError, OSError) as error:
            raise ConnectionFailed(f"{self.where}: it cannot be reached: {error}") from error
        try:
            yield Session(connection, self.where)
        except BaseException:
            connection.disconnect()  # type: ignore[no-untyped-call]  # it may watch keys, or have answers on their way
            raise
        finally:
            self._pool.release(connection)

    def close(self) -> None:
        self._pool.disconnect()


def keeps_markers(server: Server) -> bool:
    """A marker that may be evicted proves nothing; in a cluster it would be in another slot than the rows."""
    return not server.evicts_all and not server.cluster


def told_by(answer: bytes) -> dict[str, str]:
    """What an answer to INFO tells, by name."""
    lines = (line.partition(":") for line in answer.decode(errors="replace").splitlines())
    return {name: value for name, _, value in lines}


def translate(error: Exception, where: str) -> TrueupError:
    """The one place where the driver's errors become ours."""
    words = f"{where}: {' '.join(str(error).split())}"
    match error:
        case AuthenticationError() | NoPermissionError():
            return ConnectionFailed(words)
        case ReadOnlyError():
            return DesignProblem(f"{words}. It is no master (any more): give the master's address, and run again")
        case TimedOut() | Lost() | OSError() | OutOfMemoryError():
            return Transient(words)
        case _ if isinstance(error, PASSING) or str(error).split(" ", 1)[0] in _PASSING_CODES:
            return Transient(words)
    return DesignProblem(words)
