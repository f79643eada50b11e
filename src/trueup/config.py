"""`trueup.toml` -> declarations. Every error names the place and the remedy; secrets are never in it."""

from __future__ import annotations

import glob
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from trueup.core.binding import near
from trueup.core.projection import FILES, Database, Declared, Projection, Side
from trueup.errors import ConfigError
from trueup.urls import expanded, from_folder

#: The file looked for in the current directory.
FILE = "trueup.toml"
Model = TypeVar("Model", bound=BaseModel)


class Settings(Declared):
    """The `[trueup]` table."""

    #: Where runs, decisions and outcomes are kept: `sqlite:///file` or `postgresql://…`.
    ledger: SecretStr = SecretStr("sqlite:///trueup.db")
    #: Time zone of schedules.
    timezone: str = "UTC"


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything a configuration file declares."""

    settings: Settings
    databases: Mapping[str, Database]
    projections: Mapping[str, Projection]


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Read and check a configuration file.

    Raises ConfigError.
    """
    try:
        text = path.read_text(encoding="utf-8")
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
    _known(path, "", data, ("trueup", "databases", "projections"))
    data = _expanded(data, environ, path, ())
    settings = _model(path, "trueup", Settings, data.get("trueup", {}))
    databases = {
        name: _model(path, f"databases.{name}", Database, values)
        for name, values in _tables(path, data, "databases").items()
    }
    projections = {
        name: _model(path, f"projections.{name}", Projection, {"name": name, **values})
        for name, values in _tables(path, data, "projections").items()
    }
    settings = settings.model_copy(update={"ledger": _seen_from(path.parent, settings.ledger)})
    databases = {
        name: database.model_copy(update={"url": _seen_from(path.parent, database.url)})
        for name, database in databases.items()
    }
    projections = {name: _from_folder(projection, path.parent) for name, projection in projections.items()}
    check_references(databases, projections)
    return Config(settings=settings, databases=databases, projections=projections)


def check_references(databases: Mapping[str, Database], projections: Mapping[str, Projection]) -> None:
    """Every side names a declared database.

    Raises ConfigError.
    """
    for name, projection in projections.items():
        for role in ("source", "target"):
            side: Side = getattr(projection, role)
            database = side.database
            if side.file is None and database not in databases:
                raise ConfigError(
                    f"projections.{name}.{role}.database: {database!r} is not declared; {near(database, databases)}"
                )


def with_files(databases: Mapping[str, Database]) -> dict[str, Database]:
    """The databases, and the one that stands for the files of projections."""
    return {**databases, FILES: Database(url=SecretStr("file://"))}


def _tables(path: Path, data: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    tables = data.get(name, {})
    if not isinstance(tables, dict) or not all(isinstance(value, dict) for value in tables.values()):
        raise ConfigError(f"{path}: [{name}] holds named tables: [{name}.NAME]")
    return tables


def _known(path: Path, place: str, data: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for key in data:
        if key not in names:
            raise ConfigError(f"{path}: unknown key {place}{key!r}; {near(key, names)}")


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


def _model(path: Path, place: str, model: type[Model], values: Any) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{path}: {describe(place, model, error)}") from None


def describe(place: str, model: type[BaseModel], error: ValidationError) -> str:
    """The first thing that is wrong, in words; never the value, which may be a secret."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = [str(part) for part in first["loc"]]
    full = ".".join([place, *where])
    if first["type"] == "extra_forbidden":
        known = _fields(model, where[:-1])
        return f"{full}: unknown key {where[-1]!r}; {near(where[-1], known)}"
    if first["type"] == "missing":
        return f"{full}: is missing"
    words = first["msg"].removeprefix("Value error, ")
    return f"{full}: {words}"


def _fields(model: type[BaseModel], where: list[str]) -> list[str]:
    """Names of the keys at a place inside a model."""
    for name in where:
        inner = model.model_fields[name].annotation if name in model.model_fields else None
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return [name for name in model.model_fields if name != "name"]


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
