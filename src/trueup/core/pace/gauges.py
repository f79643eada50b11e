"""Health signals that a team declares: where a number comes from, and what it means."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from trueup.core.declared import Declared, Duration

if TYPE_CHECKING:
    from trueup.core.pace.pressure import Mark

#: Pressures of sources that answer with a word instead of a number.
FREE, TOO_MUCH, EMERGENCY = 0.0, 1.2, 2.0
#: The kinds of sources.
KINDS = ("sql", "write", "http", "prometheus", "command", "python")
#: Those that are given up after a time that can be declared.
TIMED = ("http", "prometheus", "command")
#: What the time of a small write means where nothing is declared, milliseconds.
_WRITE_MS = {"idle": 20.0, "soft": 100.0, "hard": 400.0}
#: Statuses of a throttler that is asked over HTTP (freno's), and exit codes of a check (those of monitoring plugins).
#: What is not here is no answer.
_STATUSES = {429: TOO_MUCH, 417: EMERGENCY}
_EXIT_CODES = {0: FREE, 1: TOO_MUCH, 2: EMERGENCY}
#: What begins like a number, or says that there is none, and what begins like JSON. Where it cannot be read it is no
#: answer: neither a word nor free.
_LIKE_A_NUMBER = re.compile(r"\s*(?:[-+]?\.?\d|[-+]?inf(?:inity)?\b|(?:nan|null|none)\b)", re.IGNORECASE)
_LIKE_JSON = ("{", "[", '"')


class Gauge(Declared):
    """One declared signal. Without `soft` the number is the pressure itself: 1 is too much, 2 an emergency. Of a
    `write` it is too much from 100 ms, and an emergency from 400.
    """

    name: str = Field(min_length=1)
    #: A SELECT of one number, on the paced database; on Redis a command.
    sql: str = ""
    #: A statement that writes something small there, a heartbeat; the number is the milliseconds that it takes.
    write: str = ""
    #: An address that is fetched.
    http: SecretStr | None = None
    #: A Prometheus server, and what it is asked.
    prometheus: SecretStr | None = None
    query: str = ""
    #: A program and its arguments.
    command: tuple[str, ...] = ()
    #: `package.module:function`, called without arguments.
    python: str = ""
    idle: float = Field(default=0.0, allow_inf_nan=False)
    soft: float | None = Field(default=None, allow_inf_nan=False)
    hard: float | None = Field(default=None, allow_inf_nan=False)
    every: Duration = Field(default=1.0, ge=0.1)
    timeout: Duration = Field(default=0.5, gt=0, le=30)
    #: Its absence is a reason to slow down.
    required: bool = False

    @field_validator("python")
    @classmethod
    def _named(cls, name: str) -> str:
        module, _, function = name.partition(":")
        if name and not (module and function.isidentifier()):
            raise ValueError("write it as 'package.module:function'")
        return name

    @model_validator(mode="after")
    def _whole(self) -> Self:
        given = [kind for kind in KINDS if getattr(self, kind)]
        if len(given) != 1:
            raise ValueError(f"say where the number comes from, once: one of {', '.join(KINDS)}")
        if bool(self.query) is not (self.kind == "prometheus"):
            raise ValueError("`query` belongs to `prometheus`")
        if "timeout" in self.model_fields_set and self.kind not in TIMED:
            raise ValueError(
                f"`timeout` belongs to {', '.join(TIMED)}: a statement is given up after half a second, and a function "
                f"limits itself"
            )
        if (self.soft is None) is not (self.hard is None):
            raise ValueError("give `soft` and `hard`, or neither")
        if self.soft is not None and self.hard is not None and not self.idle < self.soft < self.hard:
            raise ValueError("`idle` has to be below `soft`, and `soft` below `hard`")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind))

    @property
    def mark(self) -> Mark:
        """What its values mean."""
        from trueup.core.pace.pressure import Mark

        if self.soft is None or self.hard is None:
            if self.write:
                return Mark(**_WRITE_MS, required=self.required)
            return Mark(idle=0.0, soft=1.0, hard=2.0, required=self.required)
        return Mark(idle=self.idle, soft=self.soft, hard=self.hard, required=self.required)

    @property
    def fresh_s(self) -> float:
        """How long a number is worth something, seconds."""
        return 2 * self.every + self.timeout

    def worth(self, pressure: float) -> float:
        """A pressure as a value of this gauge."""
        mark = self.mark
        if pressure <= 1:
            return mark.idle + pressure * (mark.soft - mark.idle)
        return mark.soft + (pressure - 1) * (mark.hard - mark.soft)


def of_http(gauge: Gauge, status: int, body: str) -> float:
    """A number, a JSON object with `value`, or a throttler's status. Raises ValueError where it is no answer."""
    if status in _STATUSES:
        return gauge.worth(_STATUSES[status])
    if status != 200:
        raise ValueError(f"it answered {status}")
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        if _LIKE_A_NUMBER.match(body) or body.lstrip().startswith(_LIKE_JSON):
            raise ValueError(f"it answered {body[:100]!r}, which begins like a number or JSON, and is none") from None
        return gauge.worth(FREE)  # a throttler's "OK"
    if isinstance(told, dict):
        if "value" not in told:
            return gauge.worth(FREE)
        told = told["value"]
    return number(told)


def of_prometheus(gauge: Gauge, body: str) -> float:
    """The greatest number of an instant query, infinity as an emergency. Series that have none (NaN) are left out.
    Raises ValueError where nothing is left.
    """
    try:
        told = json.loads(body)
        data = told["data"] if told["status"] == "success" else {}
        series = [data["result"]] if data["resultType"] == "scalar" else [one["value"] for one in data["result"]]
        found = [float(value) for _, value in series]
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        raise ValueError(f"it answered {body[:200]!r}") from None
    worth = [gauge.worth(EMERGENCY) if value == math.inf else value for value in found if value > -math.inf]
    if not worth:
        raise ValueError("the query found nothing")
    return max(worth)


def of_command(gauge: Gauge, code: int, printed: str) -> float:
    """The number that was printed, or what the exit code means. Raises ValueError where it is no answer."""
    if code == 0 and _LIKE_A_NUMBER.match(printed):
        return number(printed.split(maxsplit=1)[0])
    if code not in _EXIT_CODES:
        raise ValueError(f"it ended with {code}")
    return gauge.worth(_EXIT_CODES[code])


def number(value: Any) -> float:
    """Raises ValueError where it is none: NULL is not 0."""
    if value is None or isinstance(value, bool):
        raise ValueError(f"{value!r} is no number")
    try:
        found = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{str(value)[:100]!r} is no number") from None
    except OverflowError:
        raise ValueError("what has so many digits is no number") from None
    if not math.isfinite(found):
        raise ValueError(f"{found} is no number")
    return found
