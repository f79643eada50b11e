"""Trueup: find drift between derived state and its source of truth, confirm it, repair it safely, prove it.

    app = trueup.load("trueup.toml")
    report = app.check("post_like_counts")

Names are imported on demand, so that `import trueup` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trueup._version import __version__

if TYPE_CHECKING:
    from trueup.app import Explanation, Status, Trueup, load
    from trueup.comparison import diff
    from trueup.core.guarantee import Guarantee
    from trueup.core.projection import Database, Limits, Projection, Side
    from trueup.core.states import Outcome, Verdict
    from trueup.core.writers import Writers
    from trueup.errors import (
        ConfigError,
        Interrupted,
        Refused,
        TrueupError,
    )
    from trueup.report import Report

_HOMES = {
    "ConfigError": "trueup.errors",
    "Database": "trueup.core.projection",
    "Explanation": "trueup.app",
    "Guarantee": "trueup.core.guarantee",
    "Interrupted": "trueup.errors",
    "Limits": "trueup.core.projection",
    "Outcome": "trueup.core.states",
    "Projection": "trueup.core.projection",
    "Refused": "trueup.errors",
    "Report": "trueup.report",
    "Side": "trueup.core.projection",
    "Status": "trueup.app",
    "Trueup": "trueup.app",
    "TrueupError": "trueup.errors",
    "Verdict": "trueup.core.states",
    "Writers": "trueup.core.writers",
    "diff": "trueup.comparison",
    "load": "trueup.app",
}

__all__ = [
    "ConfigError",
    "Database",
    "Explanation",
    "Guarantee",
    "Interrupted",
    "Limits",
    "Outcome",
    "Projection",
    "Refused",
    "Report",
    "Side",
    "Status",
    "Trueup",
    "TrueupError",
    "Verdict",
    "Writers",
    "__version__",
    "diff",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'trueup' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
