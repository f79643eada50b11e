"""Servers of our own: PostgreSQL and MariaDB from the machine's programs, with their data in a folder.

Some tests kill them. The rest of a run has one of each for every test process (`postgres_server`,
`mariadb_server`): what they make and drop waits for no disk, which for a server that keeps its data on one is a
fifth of the suite's time.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from tests import servers
from tests.live.harness import until
from tests.servers import SERVERS, START_S, Mariadb, Postgres, ServerMissingError, free_port, memory

#: Ends a server, and removes its folder, when the test process is gone, however it went: its end of the pipe is closed.
_GUARD = 'read -r _; kill -KILL "-$1"; rm -rf -- "$2"'


class OwnServer:
    """A server that runs until it is killed, and can be started again on what it left."""

    def __init__(self, program: Sequence[str], user: str, url: str, log: Path) -> None:
        self.program = program
        self.user = user if os.getuid() == 0 else None
        #: Of a database that is always there.
        self.url = url
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.guard: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.program, user=self.user, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
            )
        guard = ["sh", "-c", _GUARD, "sh", str(self.process.pid), str(self.log.parent)]
        self.guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True)
        until(self._answers, f"{self.program[0]} to answer: {self.log}", timeout_s=START_S, pause_s=0.05)

    def _answers(self) -> bool:
        with suppress(Exception):
            (servers.run_sql if self.url.startswith("postgres") else servers.run_mariadb)(self.url, "SELECT 1")
            return True
        return False

    def kill(self) -> None:
        """As a machine that loses its processes: the server and all that it started, at once."""
        assert self.process is not None
        assert self.guard is not None
        self.guard.kill()
        self.guard.communicate()
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


#: Of a new PostgreSQL, whatever the machine speaks.
_TEXT = ("--encoding=UTF8", "--locale=C.UTF-8")


@contextmanager
def postgres_server(environ: Mapping[str, str], embedded_home: Path) -> Iterator[Postgres]:
    """The one given, else one in memory, else the first that is there. Raises ServerMissingError."""
    with ExitStack() as stack:
        own = own_postgresql(autovacuum="off", fsync="on")  # as servers are, which the doctor looks at; memory is quick
        if server := _in_memory("postgres", own, environ, stack):
            yield Postgres(admin_url=server.url, origin="in memory")
        else:
            yield stack.enter_context(servers.postgres_server(environ, embedded_home))


@contextmanager
def some_postgres() -> Iterator[Postgres]:
    """As `postgres_server`, for what runs by itself. Raises ServerMissingError."""
    home = servers.new_embedded_home()
    try:
        with postgres_server(os.environ, home) as server:
            yield server
    finally:
        servers.remove_embedded_home(home)


@contextmanager
def mariadb_server(environ: Mapping[str, str]) -> Iterator[Mariadb]:
    """The one given, else one in memory, else the local one. Raises ServerMissingError."""
    with ExitStack() as stack:
        if server := _in_memory("mariadb", own_mariadb(), environ, stack):
            yield Mariadb(admin_url=server.url)
        else:
            yield servers.mariadb_server(environ)


def _in_memory(
    name: str, own: AbstractContextManager[OwnServer], environ: Mapping[str, str], stack: ExitStack
) -> OwnServer | None:
    """Start it, unless one is given, there is no room, or no program."""
    if not environ.get(SERVERS[name].variable) and memory():
        with suppress(ServerMissingError):
            return stack.enter_context(own)
    return None


@contextmanager
def own_postgresql(**more: str) -> Iterator[OwnServer]:
    """`more`: settings. Raises ServerMissingError."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise ServerMissingError("no program `postgres` of its own to start")
    bin_ = found[-1].parent
    with _folder("postgres") as folder:
        data, port = folder / "data", free_port()
        _run([bin_ / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", *_TEXT], "postgres")
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off"}
        settings |= {"dynamic_shared_memory_type": "mmap"} | more  # in the folder, and gone with it
        program = [str(bin_ / "postgres"), "-D", str(data), "-p", str(port)]
        program += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        server = OwnServer(program, "postgres", f"postgresql://postgres@127.0.0.1:{port}/postgres", folder / "log")
        yield from _running(server)


@contextmanager
def standby_of(primary: OwnServer) -> Iterator[OwnServer]:
    """Another PostgreSQL that replays what this one writes. Raises ServerMissingError."""
    bin_, port = Path(primary.program[0]).parent, free_port()
    with _folder("postgres") as folder:
        data = folder / "data"
        _run([bin_ / "pg_basebackup", "-D", data, "-d", primary.url, "-R", "-c", "fast"], "postgres")
        program = [str(bin_ / "postgres"), "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
        program += ["-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        program += ["-c", "dynamic_shared_memory_type=mmap"]
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        yield from _running(OwnServer(program, "postgres", url, folder / "log"))


@contextmanager
def own_mariadb(*more: str) -> Iterator[OwnServer]:
    """`more`: arguments. Raises ServerMissingError."""
    install, program = shutil.which("mariadb-install-db"), shutil.which("mariadbd", path="/usr/sbin:/usr/bin")
    if not install or not program:
        raise ServerMissingError("no program `mariadbd` of its own to start")
    with _folder("mysql") as folder:
        data, port = folder / "data", free_port()
        user = ["--user=mysql"] if os.getuid() == 0 else []
        made = ["--auth-root-authentication-method=normal", "--skip-test-db"]  # root without a password
        _run([install, "--no-defaults", f"--datadir={data}", *made, *user], None)
        arguments = [
            program,
            "--no-defaults",
            f"--datadir={data}",
            f"--port={port}",
            f"--socket={folder / 'socket'}",
            "--bind-address=127.0.0.1",
            "--innodb-flush-log-at-trx-commit=1",
            *more,
        ]
        url = f"mariadb://root@127.0.0.1:{port}/?ssl_disabled=true"
        yield from _running(OwnServer(arguments, "mysql", url, folder / "log"))


def _running(server: OwnServer) -> Iterator[OwnServer]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def _folder(user: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"trueup-own-{user}-", dir=memory()))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, user)
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(command: Sequence[str | Path], user: str | None) -> None:
    as_user = user if os.getuid() == 0 else None
    done = subprocess.run([str(word) for word in command], user=as_user, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerMissingError(f"{command[0]}: {done.stderr or done.stdout}")
