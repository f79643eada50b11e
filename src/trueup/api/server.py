"""The API's server: begun beside a node's loop, ended after it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from trueup.api.application import application, guarded
from trueup.core.api_settings import ApiSettings
from trueup.errors import ConfigError
from trueup.pace.admission import Caused

if TYPE_CHECKING:
    from trueup.app import Trueup

log = logging.getLogger("trueup.api")

#: Connections that wait to be taken.
BACKLOG = 128


@contextmanager
def served(
    opening: Callable[[], Trueup],
    settings: ApiSettings,
    *,
    looping: Callable[[], bool],
    caused: Callable[[], Mapping[str, Caused]],
) -> Iterator[str]:
    """Take requests during this block, in a thread of its own; at its end those in progress are answered. The address.

    Raises ConfigError where it would stand open, or cannot listen.
    """
    with opening() as engine:
        not_open(settings, engine)
    app = application(opening, settings, looping=looping, caused=caused)
    with _listening(settings) as sock:
        host, port = sock.getsockname()[:2]
        address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        server = uvicorn.Server(
            uvicorn.Config(
                guarded(app, settings),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                timeout_graceful_shutdown=int(settings.longest) + 1,
                h11_max_incomplete_event_size=65_536,
            )
        )
        _one_log()
        thread = threading.Thread(target=server.run, args=([sock],), name="trueup-api", daemon=True)
        thread.start()
        log.info("requests are taken at %s", address)
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join()
            app.state.engines.close()


def not_open(settings: ApiSettings, engine: Trueup) -> None:
    """Raise ConfigError for an address that others reach, as long as nobody has a token."""
    if settings.local:
        return
    now = engine.clock.now()
    if any(token.state(now) == "active" for token in engine.tokens.unrevoked()):
        return
    raise ConfigError(
        f"trueup.api.listen: {settings.listen} is reached by other machines, and nobody has a token; "
        f"`trueup token create NAME --role admin` makes the first"
    )


@contextmanager
def _listening(settings: ApiSettings) -> Iterator[socket.socket]:
    host, port = settings.address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        sock = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(f"trueup.api.listen: {settings.listen}: {error.strerror or error}") from None
    with sock:
        yield sock


def _one_log() -> None:
    """What the HTTP server has to say goes where everything goes."""
    theirs, ours = logging.getLogger("uvicorn"), logging.getLogger("trueup")
    theirs.handlers, theirs.propagate = list(ours.handlers), False
    theirs.setLevel(logging.WARNING)
