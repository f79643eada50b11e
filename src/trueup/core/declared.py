"""What all declarations share: no unknown keys, and how durations, shares and engines are written."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?$")
#: An engine that is elsewhere: scheme, with or without TLS, and where its scheduler listens.
_ENGINE = re.compile(r"[a-z]+(\+tls)?://[^\s/@]+:\d+")
#: The engine that is this process.
THREADS = "threads"
#: How long what ended runs did is kept where nothing is declared, seconds; and at least.
KEEP_S, KEEP_LEAST_S = 90 * 86400.0, 60.0
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(value: object) -> float:
    """Seconds from "10s", "200ms", "5m", "6h", "1d" or a number; ValueError otherwise."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    else:
        match = _DURATION.match(str(value).strip())
        if not match:
            raise ValueError(f"{value!r} is not a duration; write it like '10s', '200ms', '5m' or '6h'")
        seconds = float(match[1]) * _UNIT_S[match[2] or "s"]
    if not 0 <= seconds < math.inf:
        raise ValueError(f"{value!r} is not a duration: it is negative, or no number")
    return seconds


def spoken(seconds: float) -> str:
    """A duration for people, in its two largest units: "3 h 20 min"."""
    left = round(seconds)
    for (large, many), (small, length) in pairwise((("d", 86400), ("h", 3600), ("min", 60), ("s", 1))):
        if left >= many:
            rest = left % many // length
            return f"{left // many} {large}{f' {rest} {small}' if rest else ''}"
    return f"{left} s"


def parse_share(value: object) -> float:
    """A share between 0 and 1 from "5%" or 0.05; ValueError otherwise."""
    text = str(value).strip()
    try:
        share = float(text[:-1].rstrip() + "e-2" if text.endswith("%") else text)
    except ValueError:
        raise ValueError(f"{value!r} is not a share; write it like '5%' or 0.05") from None
    if not 0 <= share <= 1:
        raise ValueError(f"{value!r} is not between 0% and 100%")
    return share


def parse_engine(value: object) -> str:
    """`threads`, or the address of an engine's scheduler; ValueError otherwise."""
    text = str(value)
    if text != THREADS and not _ENGINE.fullmatch(text):
        raise ValueError(f"{text!r} is not an engine; write {THREADS!r}, 'dask://host:port' or 'dask+tls://host:port'")
    return text


def parse_keep(value: object) -> float | None:
    """Seconds, or None from "forever"; ValueError otherwise."""
    if value is None or str(value).strip() == "forever":
        return None
    seconds = parse_duration(value)
    if seconds < KEEP_LEAST_S:
        raise ValueError(f"{value!r} is too short: give {spoken(KEEP_LEAST_S)} at least, or 'forever'")
    return seconds


def as_list(value: object) -> object:
    """One text is a list of one."""
    return [value] if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_list)]
Duration = Annotated[float, BeforeValidator(parse_duration)]
Keep = Annotated[float | None, BeforeValidator(parse_keep)]
Share = Annotated[float, BeforeValidator(parse_share)]
Engine = Annotated[str, BeforeValidator(parse_engine)]
#: More than nothing, and no more than can be counted with.
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Declared(BaseModel):
    """Base of all declarations: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
