"""Where the application is let in while the live race goes on, and a source that is in another database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from trueup.core.binding import Binding
from trueup.core.row import Batch, batch_of

#: The one key, what its source says, and what its counter says.
KEY, TRUE, WRONG = 1, 5, 7


class Gaps:
    """The places between two statements of a repair; at one of them the application acts."""

    def __init__(self, tables: Collection[str]) -> None:
        self.tables = tables
        self.passed = 0
        self.at = -1
        self.act: Callable[[], None] = lambda: None
        #: Where the application acted: what came next.
        self.where = ""

    def arm(self, at: int, act: Callable[[], None]) -> None:
        self.passed, self.at, self.act, self.where = 0, at, act, ""

    def pass_by(self, before: str) -> None:
        """One gap; `before`: what comes next."""
        here, self.passed = self.passed, self.passed + 1
        if here == self.at:
            self.where = before
            self.act()

    def before_session(self, _c: object) -> None:
        self.pass_by("BEGIN")

    def before_statement(self, _c: object, _cursor: object, sql: str, *_rest: object) -> None:
        if any(table in sql for table in self.tables):
            self.pass_by(f"{sql.split(maxsplit=1)[0]} {'counter' if '_counter' in sql else 'edges'}")


class Truth:
    """The source, where it is another database: what it says is committed at once, whoever asks."""

    def __init__(self, binding: Binding, gaps: Gaps) -> None:
        self.binding = binding
        self.gaps = gaps
        self.value = TRUE
        self.ended = False

    def read(self) -> int:
        self.gaps.pass_by("the source is read")
        value = self.value
        self.gaps.pass_by("what was read of the source is used")
        return value

    def stream(self, *_: object, **__: object) -> Truth:
        return self

    def __iter__(self) -> Iterator[Batch]:
        value = self.read()
        issued = [value] * len(self.binding.value_kinds)  # where there is a version, it is raised with the value
        yield batch_of([(KEY, *issued)], self.binding.kinds, 1, tokens=False)
        self.ended = True
