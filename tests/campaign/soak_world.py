"""What a soak runs on: servers, tables, projections of each kind, writers, and what can be seen of it from outside.

| projection | source -> target | runs |
|---|---|---|
| `live` | one PostgreSQL database, writers in one transaction, paced | every 5 s |
| `copied` | PostgreSQL -> another server, of the soak's own, dual writes | every 5 s |
| `cached` | PostgreSQL -> Redis, of the soak's own, dual writes | by a Redis stream, and every 10 s |
| `heard` | one PostgreSQL database | by LISTEN, and every 10 s |
| `turns` | one PostgreSQL database | in continuous mode, whole every 60 s |
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import redis

from tests.alerting.receivers import Web, web
from tests.campaign.events import Redis
from tests.campaign.flat import process
from tests.campaign.nodes import NodeProcess
from tests.faults.proxy import proxied
from tests.own_servers import OwnServer, own_postgresql
from tests.servers import Postgres, free_port, run_sql, scratch_database
from trueup.store import fresh  # noqa: F401 - all tables of the ledger
from trueup.store.ledger import Ledger
from trueup.store.schema import metadata

NAMES = ("live", "copied", "cached", "heard", "turns")
#: Rows of each projection.
ROWS = 2_000
#: What `t_copied` refuses: rows beyond it are poison.
POISON = 1_000_000
KEEP_S = 60

CONFIG = """
[trueup]
ledger = "{ledger}"
lease = "10s"
keep = "{keep}s"
retry = {{ tries = 3, within = "10s", pause = "1s", pause_longest = "5s" }}
[trueup.api]
listen = "127.0.0.1:{port}"
[serve]
poll = "500ms"
workers = 3
[alerts]
to = ["json://127.0.0.1:{alerts}/"]
allow_private = true
repeat = "1m"
[databases.app]
url = "{app}"
protect = "30%"
pace = {{ least = 0.5 }}
[databases.own]
url = "{own}"
[databases.cache]
url = "{cache}"
[brokers.bus]
url = "{cache}"
"""
PROJECTION = """
[projections.{name}]
source = {{ database = "app", table = "s_{name}" }}
target = {target}
key = ["id"]
settle = "300ms"
limits = {{ rows = 100000, share = "100%", deletes = 100000, collapse = "0%" }}
recurring = {{ times = 0 }}
on_extra = "delete"
{more}
"""
#: Target and whatever else is declared.
DECLARED = {
    "live": (
        '{ database = "app", table = "t_live" }',
        'writers = "same_transaction"\nschedule = { every = "5s" }',
    ),
    "copied": (
        '{ database = "own", table = "t_copied" }',
        'writers = "dual_write"\nschedule = { every = "5s" }',
    ),
    "cached": (
        '{ database = "cache", pattern = "n:{id}" }',
        'writers = "dual_write"\nschedule = { every = "10s" }\n'
        'triggers = [{ kind = "redis_stream", broker = "bus", stream = "soak", field = "event" }]',
    ),
    "heard": (
        '{ database = "app", table = "t_heard" }',
        'writers = "same_transaction"\nschedule = { every = "10s" }\n'
        'triggers = [{ kind = "listen", database = "app", channel = "soak" }]',
    ),
    "turns": (
        '{ database = "app", table = "t_turns" }',
        'writers = "same_transaction"\nfresh = "1m"\nschedule = { every = "60s", continuous = true, rest = "2s" }',
    ),
}
#: Rows of `t_live` that nodes have written: each repair once, whatever it takes.
JUDGE = """
CREATE TABLE written (id integer PRIMARY KEY, times integer NOT NULL, last bigint NOT NULL);
CREATE FUNCTION judged() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE the integer := coalesce(NEW.id, OLD.id);
BEGIN
  INSERT INTO written VALUES (the, 1, txid_current()) ON CONFLICT (id) DO UPDATE
    SET times = written.times + (written.last <> txid_current())::integer, last = txid_current();
  RETURN NULL;
END $$;
CREATE TRIGGER judged AFTER INSERT OR UPDATE OR DELETE ON t_live FOR EACH ROW
  WHEN (current_setting('application_name') LIKE 'soak-n%') EXECUTE FUNCTION judged();
"""


@dataclass(kw_only=True)
class World:
    """Everything that a soak runs on."""

    app: str
    ledger: str
    own: OwnServer
    cache: Redis
    alerts: Web
    nodes: list[NodeProcess]
    #: By node: where it takes requests.
    ports: list[int]
    #: Rows that were made wrong on purpose, by projection.
    planted: dict[str, int] = field(default_factory=dict)

    def target(self, name: str) -> str:
        return self.own.url if name == "copied" else self.app

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.cache.url, socket_timeout=10)

    def wrong(self) -> dict[str, int]:
        """Rows that are not right, by projection, where there are any."""
        found = {}
        for name in NAMES:
            source = dict(run_sql(self.app, f"SELECT id, n FROM s_{name}"))
            target = (
                self._cached() if name == "cached" else dict(run_sql(self.target(name), f"SELECT id, n FROM t_{name}"))
            )
            if count := len(source.items() ^ target.items()):
                found[name] = count
        return found

    def _cached(self) -> dict[int, int]:
        with self.client() as client:
            names: list[Any] = list(client.scan_iter("n:*", count=1000))
            values: Any = client.mget(names) if names else []
        return {int(name[2:]): int(value) for name, value in zip(names, values, strict=True) if value is not None}

    # --- what is sampled ---------------------------------------------------------------------------------------------

    def sample(self) -> dict[str, float]:
        """What can be had just now of all series."""
        found: dict[str, float] = {}
        for part in (self._processes, self._connections, self._ledger, self._targets):
            with suppress(psycopg.Error, redis.RedisError, OSError, RuntimeError):
                found |= part()
        return found

    def _processes(self) -> dict[str, float]:
        """Of the first node only, which is never killed: others begin anew."""
        node = self.nodes[0]
        assert node.process is not None
        return {f"{what} {node.name}": value for what, value in process(node.process.pid).items()}

    def _connections(self) -> dict[str, float]:
        asked = (
            "SELECT application_name, count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name LIKE 'soak-n%' GROUP BY 1"
        )
        where = {"app": self.app, "ledger": self.ledger, "own": self.own.url}
        mine = self.nodes[0].name
        return {
            f"connections {mine} to {name}": float(dict(run_sql(url, asked)).get(mine, 0))
            for name, url in where.items()
        }

    def _ledger(self) -> dict[str, float]:
        rows = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in metadata.tables)
        found = {f"rows {name}": float(count) for name, count in run_sql(self.ledger, rows)}
        ((waiting,),) = run_sql(self.ledger, "SELECT count(*) FROM trueup_requests WHERE state = 'waiting'")
        ((size,),) = run_sql(self.ledger, "SELECT pg_database_size(current_database())")
        return found | {"queue": float(waiting), "size ledger": size / 1e6}

    def _targets(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, url in (("app", self.app), ("own", self.own.url)):
            for table in ("trueup_applied", "trueup_fence"):
                ((there,),) = run_sql(url, f"SELECT to_regclass('{table}') IS NOT NULL")
                if there:
                    found[f"rows {name}.{table}"] = float(run_sql(url, f"SELECT count(*) FROM {table}")[0][0])
            ((size,),) = run_sql(url, "SELECT pg_database_size(current_database())")
            found[f"size {name}"] = size / 1e6
        with self.client() as client:
            keys: Any = client.dbsize()
        return found | {"redis keys": float(keys)}


@contextmanager
def world(folder: Path, *, count: int, module: str = "trueup") -> Iterator[World]:
    """Servers, tables and nodes that are not started yet."""
    with ExitStack() as stack:
        home = stack.enter_context(own_postgresql())  # others' checkpoints would hold the pace back
        server = Postgres(admin_url=home.url, origin="own")
        app, ledger = (stack.enter_context(scratch_database(server, f"soak{part}")) for part in ("app", "ledger"))
        own = stack.enter_context(own_postgresql())
        cache = Redis(Path(stack.enter_context(TemporaryDirectory(dir=folder))), free_port())
        stack.callback(cache.kill)
        alerts = stack.enter_context(web())
        made = World(app=app, ledger=ledger, own=own, cache=cache, alerts=alerts, nodes=[], ports=[])
        _fill(made)
        for n in range(count):
            place = folder / f"n{n}"
            place.mkdir()
            proxy, url = stack.enter_context(proxied(ledger))
            node = NodeProcess(folder=place, proxy=proxy, name=f"soak-n{n}", module=module)
            made.ports.append(free_port())
            (place / "trueup.toml").write_text(_config(made, node.name, url, made.ports[-1]))
            made.nodes.append(node)
        yield made


def _config(made: World, node: str, ledger: str, port: int) -> str:
    def named(url: str) -> str:
        return f"{url}{'&' if '?' in url else '?'}application_name={node}"

    told = CONFIG.format(
        ledger=named(ledger),
        keep=KEEP_S,
        port=port,
        alerts=made.alerts.port,
        app=named(made.app),
        own=named(made.own.url),
        cache=made.cache.url,
    )
    return told + "".join(
        PROJECTION.format(name=name, target=target, more=more) for name, (target, more) in DECLARED.items()
    )


def _fill(made: World) -> None:
    Ledger(made.ledger).close()
    for name in NAMES:
        for side, url in (("s", made.app), ("t", made.target(name))):
            check = f", CHECK (n < {POISON})" if side + name == "tcopied" else ""
            run_sql(
                url,
                f"CREATE TABLE {side}_{name} (id integer PRIMARY KEY, n integer NOT NULL{check})",
                f"INSERT INTO {side}_{name} SELECT id, id FROM generate_series(1, {ROWS}) id",
            )
    run_sql(made.app, JUDGE, "DROP TABLE t_cached")
    with made.client() as client:
        client.mset({f"n:{n}": n for n in range(1, ROWS + 1)})


# --- who writes ------------------------------------------------------------------------------------------------------


@contextmanager
def writers(made: World, pause_s: float = 0.05) -> Iterator[None]:
    """Applications that go on whatever happens to their databases; what they could not write they do not try again."""
    ended = threading.Event()

    def write(one: Callable[[int], None]) -> None:
        at = 0
        while not ended.wait(pause_s):
            at = at % ROWS + 7
            with suppress(psycopg.Error, redis.RedisError, OSError):
                one(min(at, ROWS))

    with ExitStack() as stack:
        app = [stack.enter_context(closing(Connection(made.app))) for _ in range(3)]
        own = stack.enter_context(closing(Connection(made.own.url)))
        client = stack.enter_context(closing(made.client()))

        def copied(id_: int) -> None:
            app[1].run(f"UPDATE s_copied SET n = n + 1 WHERE id = {id_} AND n < {POISON}")
            own.run(f"UPDATE t_copied SET n = n + 1 WHERE id = {id_}")

        def cached(id_: int) -> None:
            app[2].run(f"UPDATE s_cached SET n = n + 1 WHERE id = {id_}")
            client.incr(f"n:{id_}")

        def live(id_: int) -> None:
            app[0].run(*(f"UPDATE {side}_live SET n = n + 1 WHERE id = {id_}" for side in "st"))

        threads = [threading.Thread(target=write, args=(one,), daemon=True) for one in (live, copied, cached)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join(30)


class Connection:
    """One connection that is made anew after an error."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.open: psycopg.Connection[Any] | None = None

    def run(self, *statements: str) -> None:
        """In one transaction."""
        if self.open is None or self.open.closed:
            self.open = psycopg.connect(self.url, connect_timeout=5, application_name="writer")
        try:
            with self.open.transaction():
                for statement in statements:
                    self.open.execute(statement.encode())
        except psycopg.Error:
            self.close()
            raise

    def close(self) -> None:
        if self.open is not None:
            self.open.close()
