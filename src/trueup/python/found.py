"""`module:name` -> the Python object that it names."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from typing import Any

from trueup.errors import ConfigError, DataProblem, DesignProblem, Transient, TrueupError

#: Errors of the standard library after which it is worth trying again.
PASSING = (TimeoutError, ConnectionError)


def find(reference: str, folder: str) -> Callable[..., Any]:
    """The function at `module:name`; `folder` is looked through after everything that is installed.

    Raises ConfigError.
    """
    module, _, name = reference.partition(":")
    if folder and folder not in sys.path:
        sys.path.append(folder)
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        told = f"{type(error).__name__}: {error}"
        raise ConfigError(
            f"{reference}: {module} cannot be imported ({told}); it is looked for among what is installed, and in "
            f"{folder or 'the folders that Python looks through'}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"{reference}: there is no {part!r} in {module} ({getattr(found, '__file__', module)})")
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"{reference}: it is a {type(found).__name__}, and no function")
    return found  # type: ignore[no-any-return]


def translated(reference: str, error: Exception | SystemExit, passing: tuple[type[Exception], ...] = ()) -> TrueupError:
    """What a user's function raised, by what the engine has to do about it."""
    if isinstance(error, TrueupError):
        kept = next(
            (kind for kind in (Transient, DataProblem, DesignProblem) if isinstance(error, kind)), DesignProblem
        )
        return kept(f"{reference}: {error}")
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, (*PASSING, *passing)):
        return Transient(f"{reference}: {told}")
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({last[0].filename}:{last[0].lineno})" if last else ""
    return DesignProblem(
        f"{reference}: {told}{where}. If it would pass, raise Transient; if it is about one row, DataProblem (both "
        f"from trueup.python)"
    )
