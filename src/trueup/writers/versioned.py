"""Versioned values: late and repeated deliveries are harmless, in any order.

with connection.transaction():
    version = numbers.next(cursor, key)      # locks the key
    ...                                      # the change
    n = count(cursor)                        # in a statement after it
publish(client, key, version, {"n": n})      # now, later, twice: it makes no difference
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trueup.writers.layout import PUBLISH, published


def publish(client: Any, key: str, version: int, values: Mapping[str, object]) -> bool:
    """Store `values` unless what is stored is as new; did it?"""
    return bool(client.eval(PUBLISH, 1, key, *published(version, values)) == 1)


def retract(client: Any, key: str, version: int) -> bool:
    """Leave a tombstone: the row was deleted at `version`."""
    return bool(client.eval(PUBLISH, 1, key, *published(version, None)) == 1)
