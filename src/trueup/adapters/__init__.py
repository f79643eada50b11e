"""The databases being reconciled: one file is one URL scheme, found by name and imported on demand.

Adapters do not know each other, and nothing outside imports one by name: what a database can do is told by
`Capabilities`, never asked by its name. `_roles` says what an adapter may be asked, `_exchange` with what values.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trueup.adapters._delivered import delivered
from trueup.adapters._exchange import (
    BATCH_ROWS,
    DIFFERENCES_MAX,
    SAME_KEY_MAX,
    Capabilities,
    FoundTable,
    Look,
    Looked,
    LotUnit,
    Marker,
    RowOutcome,
    Server,
    Survey,
    Unit,
)
from trueup.adapters._roles import (
    Adapter,
    Examiner,
    Hasher,
    OneStatement,
    Packer,
    Probe,
    Reader,
    Stream,
    Writer,
)
from trueup.errors import ConfigError

if TYPE_CHECKING:
    from trueup.core.projection import Database

__all__ = [
    "BATCH_ROWS",
    "DIFFERENCES_MAX",
    "SAME_KEY_MAX",
    "Adapter",
    "Capabilities",
    "Examiner",
    "FoundTable",
    "Hasher",
    "Look",
    "Looked",
    "LotUnit",
    "Marker",
    "OneStatement",
    "Packer",
    "Probe",
    "Reader",
    "RowOutcome",
    "Server",
    "Stream",
    "Survey",
    "Unit",
    "Writer",
    "connect",
    "delivered",
    "known",
    "scheme_of",
]

#: URL scheme -> module, where they are not the same word.
_MODULES: Mapping[str, str] = {
    "postgres": "postgresql",
    "mariadb": "mysql",
    **dict.fromkeys(("rediss", "valkey", "valkeys"), "redis"),
    "elasticsearch": "opensearch",
}
#: Module -> what to install, when its driver is missing.
_EXTRAS: Mapping[str, str] = {"postgresql": "postgres", "file": "duckdb", "opensearch": "search"}
#: Modules that are no databases of a kind of their own: files, and whatever else SQLAlchemy knows.
_READERS = ("file", "generic")


def scheme_of(url: str) -> str:
    """`postgresql` for `postgresql+psycopg://…`."""
    return url.partition(":")[0].partition("+")[0].lower()


def connect(name: str, database: Database) -> Adapter:
    """The adapter for a declared database. Nothing is connected yet.

    Raises ConfigError for a scheme without an adapter or a driver that is not installed.
    """
    url = database.url.get_secret_value()
    module = _MODULES.get(scheme_of(url), scheme_of(url))
    if "://" not in url:
        raise ConfigError(f"databases.{name}.url: it is not of the form scheme://user@host/database")
    if not module.isidentifier() or importlib.util.find_spec(f"{__name__}.{module}") is None:
        module = "generic"
    try:
        adapter: Adapter = importlib.import_module(f"{__name__}.{module}").connect(name, database)
    except ModuleNotFoundError as missing:
        extra = _EXTRAS.get(module, module)
        raise ConfigError(
            f"databases.{name}: the driver {missing.name!r} is not installed; pip install 'trueup[{extra}]'"
        ) from missing
    return adapter


def known() -> list[str]:
    """Modules of this package that are adapters of databases."""
    import pkgutil

    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_") and name not in _READERS)
