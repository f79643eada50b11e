"""From what was asked for to what is printed: one engine, an answer for each projection, one exit code."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueup.cli import garbage
from trueup.cli.signals import interruptible

if TYPE_CHECKING:
    from trueup import Report, Trueup, TrueupError


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A projection that gave no report; the others go on."""

    projection: str
    error: TrueupError

    @property
    def exit_code(self) -> int:
        return self.error.exit_code

    @property
    def verdict(self) -> str:
        return "refused" if self.exit_code == REFUSED else "inconclusive"

    def to_dict(self) -> dict[str, Any]:
        return {"projection": self.projection, "verdict": self.verdict, "reason": str(self.error)}


def answered(name: str, work: Callable[[], Report]) -> Report | Failure:
    from trueup.errors import Interrupted, TrueupError

    try:
        return work()
    except Interrupted:
        raise
    except TrueupError as error:
        return Failure(projection=name, error=error)


def parse_key(text: str) -> dict[str, str]:
    """`tenant=7,id=42` as a mapping. A comma belongs to the value unless a name and `=` follow it.

    Raises UsageError.
    """
    from trueup.errors import UsageError

    key: dict[str, str] = {}
    for part in re.split(r",(?=\w+=)", text):
        name, equals, value = part.partition("=")
        if not equals or not name:
            raise UsageError(f"--key {text!r}: write it as NAME=VALUE, or NAME=VALUE,NAME=VALUE for a composite key")
        key[name] = value
    return key


def print_answers(answers: Sequence[Report | Failure], *, as_json: bool) -> int:
    worst = max(answers, key=lambda each: SEVERITY.index(each.exit_code))
    from trueup.cli import tables

    if as_json:
        tables.print_json({"verdict": str(worst.verdict), "projections": [each.to_dict() for each in answers]})
    else:
        for each in answers:
            if isinstance(each, Failure):
                print(f"trueup: {each.error}", file=sys.stderr)
            else:
                tables.draw_report(each)
    return worst.exit_code


#: Exit codes from best to worst.
SEVERITY = [0, 1, 3, 4, 2]
REFUSED = 4


@contextmanager
def opened(config: Path, *, as_json: bool = False) -> Iterator[Trueup]:
    """The declared engine, with progress on stderr and Ctrl-C handled."""
    import trueup
    from trueup.cli.progress import progress

    with progress(quiet=as_json) as shown, trueup.load(config, progress=shown) as engine, interruptible(engine):
        garbage.works()
        yield engine
