"""Destinations of alerts, and a message sent to one of them, within a bounded time and without telling its address."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from pydantic import SecretStr

from trueup.core.alerts import Message

#: A message that is not accepted after so long has failed, seconds.
SEND_S = 20.0
#: What a proxy is taken from: which address it connects to would not be known here.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """Somewhere that alerts go."""

    #: A fingerprint, by which the ledger knows it.
    id: str
    #: For people: `slack, number 1`. The rest of a URL may be a secret.
    name: str
    url: SecretStr


def destinations(urls: Iterable[SecretStr]) -> dict[str, Destination]:
    """By their fingerprints."""
    found = {}
    for number, url in enumerate(urls, 1):
        text = url.get_secret_value()
        id_ = sha256(text.encode()).hexdigest()[:16]
        scheme = text.partition("://")[0]
        name = f"{scheme if scheme.isalnum() else '?'}, number {number}"
        found[id_] = Destination(id=id_, name=name, url=url)
    return found


def send(message: Message, to: Destination, *, allow_private: bool) -> str:
    """Why it could not be sent; empty: it was accepted. Takes SEND_S at most."""
    order = {"url": to.url.get_secret_value(), "title": message.title, "body": message.body}
    environ = {name: value for name, value in os.environ.items() if allow_private or name.lower() not in _PROXIES}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "trueup.alerting.deliver"],
            input=json.dumps({**order, "allow_private": allow_private}),
            capture_output=True,
            text=True,
            timeout=SEND_S,
            env=environ,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SEND_S:.0f} s"
    except OSError as error:
        return f"its process could not be started: {error}"
    try:
        return str(json.loads(done.stdout.splitlines()[-1])["why"])
    except (IndexError, KeyError, ValueError):
        return f"its process ended with code {done.returncode}"  # what it printed may hold the address
