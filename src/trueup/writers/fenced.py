"""Generation-fenced increments: cheap increments that a repair can be exact with, however late they are.

    with connection.transaction():
        generation = numbers.current(cursor, key)    # shared: writers do not wait for each other
        ...                                          # the change
    increment(client, key, generation)               # once; if it never comes, the next repair counts it

A repair begins a generation, counts, and makes it the one that counts. Its own lock waits for the transactions that
read the generation before, so their changes are in the count, and their increments, whenever they come, are not:

    with connection.transaction():
        generation = numbers.next(cursor, key)
        n = count(cursor)                            # in a statement after it
    rebase(client, key, generation, n)
"""

from __future__ import annotations

from typing import Any

from trueup.writers.layout import REBASE, delta_field, digits, total_of


def increment(client: Any, key: str, generation: int, by: int = 1) -> None:
    """Add `by` in `generation`. A delivery that is repeated counts twice, until the next repair."""
    client.hincrby(key, delta_field(generation), by)


def rebase(client: Any, key: str, generation: int, base: int) -> bool:
    """`generation` counts from now on, beginning at `base`; False if one that is as new counts already."""
    return bool(client.eval(REBASE, 1, key, digits(generation), str(base)) == 1)


def total(client: Any, key: str) -> int | None:
    """The value; None: nothing was counted yet."""
    stored = client.hgetall(key)
    return total_of({_text(field): _text(value) for field, value in stored.items()})


def _text(part: str | bytes) -> str:
    return part.decode() if isinstance(part, bytes) else part
