"""Billing as another system sees it: handlers of the tests, which do what a test tells them to."""

from __future__ import annotations

from collections.abc import Callable

from trueup.python import Call

#: What was handed over, in order.
CALLS: list[Call] = []
#: What the handler does; the first is used up, the last stays.
DOES: list[Callable[[Call], object]] = []


def bill(call: Call) -> object:
    CALLS.append(call)
    does = DOES[0] if len(DOES) == 1 else DOES.pop(0)
    return does(call)


def cancel(call: Call) -> object:
    return bill(call)
