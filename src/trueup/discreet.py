"""No driver's own words about rows whose values are sensitive."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trueup.errors import LedgerFailed, TrueupError

if TYPE_CHECKING:
    from trueup.core.projection import Projection


@contextmanager
def discreet(projection: Projection) -> Iterator[None]:
    """Around everything that reads rows: where columns are sensitive, no driver's own words leave it.

    A driver quotes the value that it stumbled over ('invalid input syntax for type integer: "..."'). Errors that are
    ours hold no values; they are known by having no driver's error behind them.
    """
    try:
        yield
    except LedgerFailed:
        raise
    except TrueupError as error:
        words = discreet_words(projection, error)
        if words == str(error):
            raise
        raise type(error)(words) from None


def discreet_words(projection: Projection, error: TrueupError) -> str:
    """What an error says, as far as it may be shown and kept."""
    behind = error.__cause__
    if not projection.sensitive or behind is None or isinstance(behind, TrueupError):
        return str(error)
    return (
        f"{projection.name}: a database refused to go on ({type(behind).__name__}); what it says may hold values of "
        f"sensitive columns, and is neither shown nor kept. Run the query by hand to see it"
    )
