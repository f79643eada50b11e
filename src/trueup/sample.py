"""Some of many differences, each as likely as any other, in bounded memory."""

from __future__ import annotations

from random import Random

from trueup.core.compare import Suspect

#: Differences among which common causes are sought; of more, so many are drawn.
SAMPLE_ROWS = 2_000
#: Characters and bytes of their texts, both sides together: of large rows fewer are drawn.
SAMPLE_SIZE = 64 * 2**20


class Sample:
    """Differences among which common causes are sought: all of a few, of many each is as likely to be one of them."""

    def __init__(self) -> None:
        self.rows: list[Suspect] = []
        self._seen = 0
        self._most = SAMPLE_ROWS
        self._size = 0
        self._chance = Random(0)  # noqa: S311 - no secret; two comparisons of the same rows tell the same

    def add(self, suspect: Suspect) -> None:
        self._seen += 1
        if self._seen <= self._most:
            self.rows.append(suspect)
        elif (place := self._chance.randrange(self._seen)) < self._most:
            self._size -= size_of(self.rows[place])
            self.rows[place] = suspect
        else:
            return
        self._size += size_of(suspect)
        while self._size > SAMPLE_SIZE:  # what is left of a sample by chance is one
            self._size -= size_of(self.rows.pop(self._chance.randrange(len(self.rows))))
            self._most = len(self.rows)

    @property
    def whole(self) -> bool:
        return self._seen == len(self.rows)


def size_of(suspect: Suspect) -> int:
    """Characters and bytes of a row's texts on both sides; all else is small."""
    values = (*suspect.key, *(suspect.expected or ()), *(suspect.observed or ()))
    return sum(len(value) for value in values if isinstance(value, str | bytes))
