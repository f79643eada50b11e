"""`trueup.toml` -> declarations. Every error names the place and the remedy; secrets are never in it."""

from __future__ import annotations

import glob
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, model_validator

from trueup.core.alert_rules import Alerts
from trueup.core.api_settings import ApiSettings
from trueup.core.audit_settings import AuditSettings
from trueup.core.binding import near
from trueup.core.declared import KEEP_S, THREADS, Engine, Keep
from trueup.core.projection import PYTHON, Database, Declared, Duration, Projection, Side
from trueup.core.retry import Retry
from trueup.core.triggers import Broker
from trueup.core.zones import zone_problem
from trueup.declarations import check_references, checked
from trueup.errors import ConfigError
from trueup.store.lease import LEASE_S
from trueup.urls import expanded, from_folder

#: The file looked for in the current directory.
FILE = "trueup.toml"


class Settings(Declared):
    """The `[trueup]` table."""

    #: Where runs, decisions and outcomes are kept: `sqlite:///file` or `postgresql://…`.
    ledger: SecretStr = SecretStr("sqlite:///trueup.db")
    #: How often what would pass is tried again, and how long a projection is then paused.
    retry: Retry = Retry()
    #: How the audit log is signed, and where its heads go.
    audit: AuditSettings = AuditSettings()
    #: Where `trueup serve` takes requests over HTTP. None: it takes none.
    api: ApiSettings | None = None
    #: Time zone of schedules.
    timezone: str = "UTC"
    #: How long a node that is not heard of keeps what it runs, seconds; with a ledger on PostgreSQL.
    lease: Duration = Field(default=LEASE_S, ge=1)
    #: How long `trueup serve` keeps what ended runs did, seconds; None: for ever.
    keep: Keep = KEEP_S
    #: Where segments are looked at first: `threads` of this process, or a Dask cluster, `dask://scheduler:8786`.
    engine: Engine = THREADS
    #: How it is known who asks: `os`, the account of the process, or `variable`, the value of TRUEUP_ACTOR.
    identity: Literal["os", "variable"] = "os"

    @model_validator(mode="after")
    def _zone(self) -> Settings:
        if problem := zone_problem(self.timezone):
            raise ValueError(f"`timezone`: {problem}")
        return self


class Serving(Declared):
    """The `[serve]` table: how `trueup serve` and `trueup worker` go about it."""

    #: Runs that go on at a time on one node.
    workers: int = Field(default=4, ge=1, le=64)
    #: How often the queue is looked at, seconds.
    poll: Duration = Field(default=1.0, ge=0.05, le=60)


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything a configuration file declares."""

    settings: Settings
    serve: Serving
    alerts: Alerts
    databases: Mapping[str, Database]
    projections: Mapping[str, Projection]
    brokers: Mapping[str, Broker]


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and check a configuration file.

    Raises ConfigError.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin a file with a mark
    except FileNotFoundError:
        raise ConfigError(f"there is no {path}; `trueup init` writes one, `--config` names another") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return parse(data, path=path, environ=environ)


def parse(data: dict[str, Any], *, path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Check the content of a configuration file; relative paths in it are relative to `path`."""
    _known(path, data, ("trueup", "serve", "alerts", "databases", "brokers", "projections"))
    data = _expanded(data, environ, path, ())
    settings = checked(Settings, data.get("trueup", {}), f"{path}: trueup")
    serving = checked(Serving, data.get("serve", {}), f"{path}: serve")
    alerts = checked(Alerts, data.get("alerts", {}), f"{path}: alerts")
    databases = {
        name: checked(Database, values, f"{path}: databases.{name}")
        for name, values in _tables(path, data, "databases").items()
    }
    projections = {
        name: checked(Projection, {"name": name, **values}, f"{path}: projections.{name}")
        for name, values in _tables(path, data, "projections").items()
    }
    brokers = {
        name: checked(Broker, values, f"{path}: brokers.{name}")
        for name, values in _tables(path, data, "brokers").items()
    }
    audit = settings.audit.seen_from(str(path.parent))
    settings = settings.model_copy(update={"ledger": _seen_from(path.parent, settings.ledger), "audit": audit})
    databases = {
        name: database.model_copy(update={"url": _seen_from(path.parent, database.url)})
        for name, database in databases.items()
    }
    projections = {name: _from_folder(projection, path.parent) for name, projection in projections.items()}
    check_references(databases, projections, brokers)
    if any(map(_names_python, projections.values())):
        databases[PYTHON] = Database(url=SecretStr(f"python://{path.parent.resolve()}"))
    return Config(
        settings=settings, serve=serving, alerts=alerts, databases=databases, projections=projections, brokers=brokers
    )


def _names_python(projection: Projection) -> bool:
    called = any(handler.call is not None for handler in projection.handlers.values())
    return called or PYTHON in (projection.source.database, projection.target.database)


def _tables(path: Path, data: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    tables = data.get(name, {})
    if not isinstance(tables, dict) or not all(isinstance(value, dict) for value in tables.values()):
        raise ConfigError(f"{path}: [{name}] holds named tables: [{name}.NAME]")
    return tables


def _known(path: Path, data: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in data:
        if key not in names:
            raise ConfigError(f"{path}: unknown key {key!r}; {near(key, names)}")


def _expanded(value: Any, environ: Mapping[str, str], path: Path, place: tuple[str, ...]) -> Any:
    """`${NAME}` replaced by environment variables, in every text of the file."""
    if isinstance(value, dict):
        return {key: _expanded(item, environ, path, (*place, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, environ, path, place) for item in value]
    if not isinstance(value, str):
        return value

    try:
        return expanded(value, environ)
    except KeyError as missing:
        where, name = ".".join(place), missing.args[0]
        raise ConfigError(f"{path}: {where}: the environment variable {name!r} is not set; export it") from None


def _seen_from(folder: Path, url: SecretStr) -> SecretStr:
    return SecretStr(from_folder(url.get_secret_value(), folder))


def _from_folder(projection: Projection, folder: Path) -> Projection:
    """Relative files of a projection, seen from the configuration file."""
    changed = {}
    for role in ("source", "target"):
        side: Side = getattr(projection, role)
        if side.file is not None and not Path(side.file).expanduser().is_absolute():
            exact = folder.resolve() / side.file
            pattern = Path(glob.escape(str(folder.resolve()))) / side.file
            changed[role] = side.model_copy(update={"file": str(exact if exact.exists() else pattern)})
    return projection.model_copy(update=changed)
