"""The anti-corruption layer: what the legacy CRM says, in the words of the shop. Only this file knows both."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from trueup.python import DataProblem, End, Part, Transient, side

#: Customers that are asked for in one request.
KEYS = 40
#: Tries of one request: the API has bad days, and a whole reading is not begun anew for each.
TRIES = 8


@side(key="id", columns={"id": "integer", "name": "text", "blocked": "boolean", "credit": "decimal"})
def customers(part: Part) -> Iterator[list[dict[str, Any]] | End]:
    if part.keys is not None:
        numbers = [str(key["id"]) for key in part.keys]
        for at in range(0, len(numbers), KEYS):
            yield translated(ask(f"?NR={','.join(numbers[at : at + KEYS])}", part))
        yield End()
        return
    after = 0 if part.lower is None else int(part.lower["id"]) - 1
    seen = 0
    while True:
        answer = ask(f"?NACH={after}", part)
        rows = translated(answer)
        seen += len(rows)
        yield rows
        if answer["WEITER"] is None:  # it says itself that there is no more
            yield End(rows=seen)
            return
        after = answer["WEITER"]


def ask(query: str, part: Part) -> Any:
    """One request, tried again where the CRM has no time or a bad day."""
    for attempt in range(TRIES):
        try:
            with urlopen(os.environ["CRM_URL"] + "/KUNDEN" + query, timeout=min(part.seconds_left, 5)) as answer:
                return json.load(answer)
        except HTTPError as error:
            if error.code not in (429, 503):
                raise
            time.sleep(min(0.05 * 2**attempt, 0.5, part.seconds_left))
        except URLError as error:
            raise Transient(f"the CRM cannot be reached: {error.reason}") from error
    raise Transient(f"the CRM refused {TRIES} times")


def translated(answer: Any) -> list[dict[str, Any]]:
    return [customer(record) for record in answer["KUNDEN"]]


def customer(record: dict[str, Any]) -> dict[str, Any]:
    """A customer, in the words of the shop."""
    if record["SPERRE"] not in ("J", "N"):
        raise DataProblem(f"customer {record['KDNR']}: SPERRE is {record['SPERRE']!r}, neither J nor N")
    return {
        "id": record["KDNR"],
        "name": record["NAME1"].title(),
        "blocked": record["SPERRE"] == "J",
        "credit": Decimal(record["LIMIT"]) / 100,
    }
