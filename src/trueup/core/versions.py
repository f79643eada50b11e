"""Versions that the source issues: which of two rows is the newer one. A row without a version is older than any."""

from __future__ import annotations

from trueup.core.row import Value, Values


def newer(one: Value, other: Value) -> bool:
    """Is version `one` newer than `other`?"""
    if one is None:
        return False
    return other is None or bool(one > other)


def ahead(expected: Values | None, observed: Values | None, at: int) -> str:
    """Why a target row is not to be overwritten: its version (value `at`) is newer; empty if it is not."""
    if expected is None or observed is None or not newer(observed[at], expected[at]):
        return ""
    return f"the target is newer than the source: its version is {observed[at]}, the source's {expected[at]}"
