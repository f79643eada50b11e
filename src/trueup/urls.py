"""Database URLs as people write them: with `${NAME}`, with secrets, with files named from where the URL stands."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, urlsplit

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

#: An environment variable in a text.
VARIABLE = re.compile(r"\$\{([^}]*)\}")
#: A URL of a database that is one file, not given from the root: the part before the file, and the file.
_RELATIVE = re.compile(r"((?:sqlite|duckdb)(?:\+\w+)?:///)(?!:memory:)([^/].*)")

#: Product -> dialect and driver, as SQLAlchemy names them.
_DRIVERS = {"postgres": "postgresql+psycopg", "postgresql": "postgresql+psycopg"}
_DRIVERS |= {"mysql": "mysql+pymysql", "mariadb": "mysql+pymysql"}
#: libpq's settings by which the kernel finds out within half a minute that the other machine is gone without a word.
_ALIVE: Mapping[str, int] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
#: Names of URL parameters that hold a secret.
_SECRET = re.compile(r"pass|secret|token|pwd|key", re.IGNORECASE)
#: Names like them that hold the path of a file.
_PATHS = frozenset({"ssl_key", "sslkey", "tls_key"})
#: The password of a URL, and what is before it, as SQLAlchemy takes them apart.
_PASSWORD = re.compile(r"(://[^:/]*:)([^@]+)@")
#: How a password is written that would end the part of a URL in which it stands.
_ESCAPED = "a / in a password is written %2F, a # %23, a ? %3F, and an @ %40"
#: What may stand behind the host of a Redis server.
_LOGICAL = re.compile(r"/?|/[0-9]+/?")
#: What its URL may say behind the ?, and with TLS.
_REDIS = (
    "db",
    "username",
    "password",
    "socket_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "health_check_interval",
)
_REDIS_TLS = (
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_ca_data",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_ciphers",
    "ssl_min_version",
)
#: Hosts that are this machine.
_HERE = ("", "localhost", "127.0.0.1", "::1")


def expanded(text: str, environ: Mapping[str, str]) -> str:
    """`text` with its variables replaced. Raises KeyError with the name of one that is not set."""
    return VARIABLE.sub(lambda match: environ[match[1]], text)


def is_secret(parameter: str) -> bool:
    """Does a parameter of a URL hold a secret, by its name?"""
    return _SECRET.search(parameter) is not None and parameter.lower() not in _PATHS


def without_secrets(url: str) -> str:
    """A URL as it may be shown and kept: no password, no parameter with a secret. Raises ValueError if it is none."""
    whole = parsed(url)
    secrets = [parameter for parameter in whole.query if is_secret(parameter)]
    return whole.difference_update_query(secrets).render_as_string()


def with_variables(url: str, prefix: str) -> tuple[str, list[str]]:
    """A URL with a variable in place of each secret that was typed, and the names of these: `PREFIX_PASSWORD`,
    `PREFIX_API_KEY`. What is a variable already stays as it is.
    """
    found: list[str] = []

    def variable(name: str, value: str) -> str:
        if VARIABLE.fullmatch(value):
            return value
        wanted = re.sub("[^A-Z0-9]", "_", f"{prefix}_{name}".upper())
        names = [wanted, *(f"{wanted}_{number}" for number in range(2, len(found) + 2))]
        found.append(next(name for name in names if name not in found))
        return f"${{{found[-1]}}}"

    url = _PASSWORD.sub(lambda match: f"{match[1]}{variable('password', match[2])}@", url, count=1)
    address, mark, query = url.partition("?")
    parameters = [part.partition("=") for part in query.split("&")]
    told = [
        f"{name}{is_}{variable(name, value) if value and is_secret(name) else value}" for name, is_, value in parameters
    ]
    return f"{address}{mark}{'&'.join(told)}", found


def parsed(url: str) -> URL:
    """A URL taken apart. Raises ValueError, which says why, if it is none."""
    import sqlalchemy as sa

    try:
        found = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise ValueError("it is not of the form scheme://user@host/database, or sqlite:///file.db") from None
    if "@" in (found.host or ""):  # the rest of a password, and it would be shown
        raise ValueError("an @ in a password is written %40")
    return found


def address(url: str) -> SplitResult:
    """A URL of a server that is no SQL database, taken apart. Raises ValueError, which shows nothing of it, if it is
    none: what is taken for a port or a path may be the rest of a password.
    """
    found = urlsplit(url)
    try:
        _ = found.port
    except ValueError:
        raise ValueError(f"its port is no number; {_ESCAPED}") from None
    named = [part.partition("=") for part in found.query.split("&")]  # `username=me@home` is a parameter
    rest = [found.path, found.fragment, *(name if is_ else f"{name}{value}" for name, is_, value in named)]
    if "@" not in found.netloc and any("@" in part for part in rest):
        raise ValueError(_ESCAPED)
    return found


def for_redis(url: str) -> str:
    """A URL as Redis's driver is to have it, which takes no offence at what it does not understand: `/cache` would be
    database 0. Raises ValueError, which shows no secret.
    """
    parts = address(url)
    safe = parts.scheme in ("rediss", "valkeys")
    if not _LOGICAL.fullmatch(parts.path):
        raise ValueError("behind the host stands the number of a logical database, like /0")
    known = (*_REDIS, *(_REDIS_TLS if safe else ()))
    for option in dict(parse_qsl(parts.query, keep_blank_values=True)):
        if option not in known:
            raise ValueError(f"{option!r} is no setting; known: {', '.join(known)}")
    return f"{'rediss' if safe else 'redis'}://{url.partition('://')[2]}"


def relative_file(url: str) -> tuple[str, str] | None:
    """The part of a URL before its file, and the file, where that is not given from the root; None for others."""
    found = _RELATIVE.fullmatch(url)
    return (found[1], found[2]) if found else None


def from_folder(url: str, folder: Path) -> str:
    """A URL with its relative file, if it has one, seen from `folder`."""
    found = relative_file(url)
    return url if found is None else f"{found[0]}{(folder / found[1]).resolve()}"


def with_driver(url: str) -> str:
    """A URL as SQLAlchemy wants it, with the driver that is used here; of other products as it is."""
    scheme, separator, rest = url.partition("://")
    return f"{_DRIVERS.get(scheme.partition('+')[0], scheme)}{separator}{rest}"


def kept_alive(said: Collection[str]) -> dict[str, int]:
    """Settings of a connection to PostgreSQL that does not wait for ever for a machine that is gone; without those that
    its URL has `said` itself.
    """
    return {name: value for name, value in _ALIVE.items() if name not in said}


def here(url: str) -> bool:
    """Does a URL lead to this machine, as far as it says so by itself?"""
    parts = urlsplit(url)
    host = parts.hostname or dict(parse_qsl(parts.query)).get("host", "")
    return host in _HERE or host.startswith("/")
