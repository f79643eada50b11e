"""One message to one destination, in a process of its own: `python -m trueup.alerting.deliver`, told by its stdin.

A process can be ended when it takes too long, and what guards its connections guards all of it, whatever library sends.
The URL comes by stdin, because arguments are seen by others; what is answered never holds a part of it.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from contextlib import nullcontext
from typing import Any

from trueup.alerting.egress import NotAllowed, guarded

#: The shortest part of a URL that is masked, characters.
PART_MIN = 4


class _Heard(logging.Handler):
    """What the library says when something goes wrong."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


def deliver(url: str, title: str, body: str, *, allow_private: bool) -> str:
    """Why it could not be sent; empty: it was accepted."""
    try:
        import apprise
    except ImportError:
        return "alerts are sent by Apprise, which is not installed: install the extra `alerts`"
    heard, library = _Heard(), logging.getLogger("apprise")
    library.handlers, library.propagate = [heard], False
    library.setLevel(logging.DEBUG)
    refused: list[str] = []
    with nullcontext() if allow_private else guarded(told=refused.append):
        sender = apprise.Apprise()
        if not sender.add(url):
            return "it is no URL that Apprise knows"
        try:
            accepted = sender.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT)
        except NotAllowed as error:
            return _remedy(str(error))
        except Exception as error:  # whatever a plugin raises must not get lost
            return masked(f"{type(error).__name__}: {error}", url)
    if accepted:
        return ""
    return _remedy(refused[0]) if refused else masked(heard.said[0] if heard.said else "it was not accepted", url)


def _remedy(why: str) -> str:
    return f"{why}; alerts.allow_private = true permits it"


def masked(text: str, url: str) -> str:
    """A text without the parts of a URL: any of them may be a secret."""
    parts = {part for part in re.split(r"[/:@?&=#,]+", url.partition("://")[2]) if len(part) >= PART_MIN}
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text


def main() -> None:
    order: dict[str, Any] = json.load(sys.stdin)
    why = deliver(order["url"], order["title"], order["body"], allow_private=order["allow_private"])
    print(json.dumps({"why": why}))


if __name__ == "__main__":
    main()
