"""Who asks: the name that goes into the record, and how it was established.

On one machine nobody can prove more than the operating system does. What each way is worth is said in docs/plans.md.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trueup.errors import ConfigError

#: Environment variable that names the person, where `[trueup] identity = "variable"` says so.
VARIABLE = "TRUEUP_ACTOR"
#: Longest name that is kept.
NAME_MAX = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Actor:
    """A person (or a service) that asks for something."""

    name: str
    #: `os`: the account that the process runs under. `variable`: the value of TRUEUP_ACTOR, as good as whoever set it.
    #: `token`: a token that `trueup token` made. `api`: authenticated by the server that hands the request on.
    by: Literal["os", "variable", "token", "api"] = "os"
    #: The machine that the request came from.
    host: str = ""

    def __str__(self) -> str:
        return self.name

    @property
    def person(self) -> str:
        """What tells two people apart: their names, whatever the machine and however they are spelt."""
        return self.name.strip().casefold()


def account() -> Actor:
    """The account that this process runs under, as the kernel has it: no environment variable has a say."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid {uid}"
    return Actor(name=name, by="os", host=socket.gethostname())


def named(environ: Mapping[str, str] = os.environ) -> Actor:
    """The person that TRUEUP_ACTOR names.

    Raises ConfigError if it names nobody.
    """
    name = environ.get(VARIABLE, "").strip()
    if not name or len(name) > NAME_MAX or not name.isprintable():
        raise ConfigError(
            f'trueup.identity = "variable": the environment variable {VARIABLE} has to name the person who asks, on '
            f"one line of at most {NAME_MAX} characters"
        )
    return Actor(name=name, by="variable", host=socket.gethostname())
