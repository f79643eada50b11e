"""Requests to OpenSearch or Elasticsearch, through opensearch-py: each answer is looked at before it counts.

Nothing is tried again here: whether a write that got no answer was carried out is found out by reading.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, unquote

from opensearchpy import JSONSerializer, OpenSearch
from opensearchpy.exceptions import (
    AuthenticationException,
    AuthorizationException,
    ConnectionTimeout,
    NotFoundError,
    OpenSearchException,
    SerializationError,
    SSLError,
    TransportError,
)
from opensearchpy.exceptions import ConnectionError as Lost
from urllib3.exceptions import NewConnectionError

from trueup.core.projection import Database
from trueup.errors import BrokenRead, ConfigError, ConnectionFailed, DesignProblem, Transient, TrueupError
from trueup.urls import address

#: Longest wait for the answer to a write, seconds: so long `stop` may have to wait at most.
ANSWER_S = 10.0
#: Statuses of a server that has no time, or whose shards are on the move.
PASSING = frozenset({429, 502, 503, 504})
#: What the URL may say behind the ?.
_OPTIONS = ("verify", "ssl_ca", "ssl_cert", "ssl_key", "api_key")


class Missing(BrokenRead):
    """The server has no such index."""


class Http:
    """One server, or a cluster behind one address."""

    def __init__(self, name: str, database: Database) -> None:
        self.where = f"databases.{name}"
        self.timeout_s = database.statement_timeout
        self._url = database.url

    @cached_property
    def _client(self) -> OpenSearch:
        return OpenSearch(**_settings(self._url.get_secret_value(), self.where))

    def ask(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | str | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, Any]:
        """The answer, an object; numbers in it are exact.

        Raises ConnectionFailed, Transient, Missing, BrokenRead (it is no answer) or DesignProblem.
        """
        headers = {"content-type": "application/x-ndjson"} if isinstance(body, str) else None
        sent = None if body is None else body if isinstance(body, str) else spelled(body)
        options = {**(params or {}), "request_timeout": min(timeout_s or self.timeout_s, self.timeout_s)}
        try:
            answer = self._client.transport.perform_request(method, path, params=options, body=sent, headers=headers)
        except OpenSearchException as error:
            raise self._translated(error, f"{method} {path}") from error
        if not isinstance(answer, dict) or "error" in answer:
            told = _reason(answer.get("error")) if isinstance(answer, dict) else "it is no JSON object"
            raise BrokenRead(f"{self.where}: {method} {path}: the answer says 200 and is none: {told}")
        return answer

    def close(self) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    def _translated(self, error: OpenSearchException, what: str) -> TrueupError:
        """The one place where the driver's errors become ours."""
        told = _told(error)
        words = f"{self.where}: {what}: {told}"
        match error:
            case AuthorizationException() if "block" in told:
                return DesignProblem(f"{words}. The index does not take writes: lift the block, and run again")
            case AuthenticationException() | AuthorizationException() | SSLError():
                return ConnectionFailed(words)
            case NotFoundError():
                return Missing(words)
            case ConnectionTimeout():
                return Transient(words)
            case Lost() if isinstance(error.info, NewConnectionError):
                return ConnectionFailed(f"{self.where}: it cannot be reached: {error.info}")
            case Lost():
                return Transient(words)
            case SerializationError():
                return BrokenRead(f"{self.where}: {what}: what came back is no JSON to its end")
            case TransportError() if error.status_code in PASSING:
                return Transient(words)
        return DesignProblem(words)


class _Exact(JSONSerializer):
    """Numbers as they are spelt."""

    def loads(self, s: str) -> Any:
        try:
            return json.loads(s, parse_float=Decimal)
        except (ValueError, TypeError) as error:
            raise SerializationError(s[:80], error) from None


def spelled(document: Any) -> str:
    """JSON, a Decimal spelt as it is.

    Raises ValueError for a float that is no number.
    """
    match document:
        case Decimal():
            if not document.is_finite():
                raise ValueError(f"JSON has no {document}")
            return str(document)
        case dict():
            return "{" + ",".join(f"{json.dumps(name)}:{spelled(value)}" for name, value in document.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(spelled, document)) + "]"
    return json.dumps(document, allow_nan=False)


def _settings(url: str, where: str) -> dict[str, Any]:
    """What the driver is told."""
    try:
        parts = address(url)
    except ValueError as wrong:
        raise ConfigError(f"{where}.url: {wrong}") from None
    transport = parts.scheme.partition("+")[2] or "http"
    if transport not in ("http", "https"):
        raise ConfigError(f"{where}.url: {parts.scheme!r} is no scheme; write opensearch:// or opensearch+https://")
    if not parts.hostname or parts.path.strip("/"):
        raise ConfigError(f"{where}.url: it is not of the form opensearch+https://user@host:9200")
    options = dict(parse_qsl(parts.query))
    for option in options:
        if option not in _OPTIONS:
            raise ConfigError(f"{where}.url: {option!r} is no setting; known: {', '.join(_OPTIONS)}")
    verify = options.get("verify", "true")
    if verify not in ("true", "false"):
        raise ConfigError(f"{where}.url: verify={verify}: write true or false")
    user = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    key = options.get("api_key")
    safe = transport == "https"
    return {
        "hosts": [{"host": parts.hostname, "port": parts.port or 9200}],
        "http_auth": user,
        "headers": {"Authorization": f"ApiKey {key}"} if key else None,
        "use_ssl": safe,
        **({"verify_certs": verify == "true", "ssl_show_warn": False} if safe else {}),
        **({"ca_certs": options["ssl_ca"]} if safe and "ssl_ca" in options else {}),
        **({"client_cert": options["ssl_cert"]} if safe and "ssl_cert" in options else {}),
        **({"client_key": options["ssl_key"]} if safe and "ssl_key" in options else {}),
        "max_retries": 0,
        "retry_on_status": (),
        "serializer": _Exact(),
    }


def _told(error: OpenSearchException) -> str:
    """The server's own words."""
    if isinstance(error, TransportError) and isinstance(error.info, dict):
        return f"{error.status_code} {_reason(error.info.get('error'))}"
    return " ".join(str(error).split())[:300]


def _reason(error: Any) -> str:
    if not isinstance(error, dict):
        return str(error)[:300]
    causes: Sequence[Any] = error.get("root_cause") or [error]
    cause = causes[0] if isinstance(causes[0], dict) else error
    return f"{cause.get('type', '')}: {cause.get('reason', '')}"[:300]


def reason_of(item: Mapping[str, Any]) -> str:
    """Why one item of several was refused."""
    return f"{item.get('status', '')} {_reason(item.get('error'))}".strip()
