"""A number and what it counts, as it is said."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`1 row`, `2,000 rows`; `many`: what more than one are called, where that is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
