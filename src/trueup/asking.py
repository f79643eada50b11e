"""What others are asked to do: the queue that nodes share, and who may ask a server for what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from trueup.core.keys import named_rightly, spellings
from trueup.core.queue import PEOPLE
from trueup.errors import ConnectionFailed, Transient, UsageError
from trueup.jobs import Engine, Keys
from trueup.store.requests import Requests, asked
from trueup.store.tokens import Tokens
from trueup.who import Actor


class Asking(Engine):
    """An engine that can leave work to others."""

    @cached_property
    def tokens(self) -> Tokens:
        """Who may ask a server for what."""
        return Tokens(self.ledger)

    @cached_property
    def queue(self) -> Requests:
        """What is to be run by `trueup serve`, on whatever node."""
        return Requests(self.ledger)

    def request(
        self,
        name: str,
        *,
        keys: Keys = None,
        reason: str,
        by: Actor | None = None,
        asked_by: str = "command",
        merged: int = 1,
        delay_s: float = 0.0,
        command: str = "",
        about: str = "",
    ) -> str:
        """Ask for what a projection does by itself: into the queue that `trueup serve` works on, or merged into what
        waits there. The id of the request; nobody has to serve just now.

        `by`: the person, where a server has authenticated them. `asked_by`: how it was asked; of what people ask for
        the audit log tells. `merged`: how many events it stands for; `delay_s`: not to begin sooner.
        `command`: another one; `apply` and `rollback` with the plan or run that they are `about`, and a rollback only
        makes a plan.
        Raises UsageError for an unknown projection, for keys that are none of its own, or without a reason.
        """
        projection = self.projection(name)
        if keys is not None and not keys:
            raise UsageError(f"{name}: no key is given; leave `keys` out to ask for all of them")
        if not reason.strip():
            raise UsageError(f"{name}: say why: --reason TEXT")
        for key in keys or ():
            named_rightly(projection, key)
        if asked_by in PEOPLE:
            self._readable(name, keys or ())
            by = by or self.actor
        now = self.queue.now(self.clock.now())
        actor = "" if by is None else by.name
        what = {"command": command, "about": about}
        base = asked(projection, now, keys=keys, reason=reason.strip(), asked_by=asked_by, actor=actor, **what)
        later = replace(base, not_before=now + timedelta(seconds=delay_s))
        return self.queue.submit(later, projection.overlap, merged, by)

    def _readable(self, name: str, keys: Sequence[Mapping[str, Any]]) -> None:
        """Raise UsageError for a key that cannot be one; not where the database that would know is away just now."""
        if not keys:
            return
        with suppress(ConnectionFailed, Transient):
            binding = self.binding(name, writing=False)
            for key in keys:
                spellings(binding, key)
