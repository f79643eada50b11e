"""Switches on projections: pause, resume, and the kill switch, which is exact.

Where the target has a fence, each repair transaction holds it: setting the switch there waits for open ones, and none
can commit afterwards. Elsewhere `stop` waits until the running run has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trueup.store.lock as locks
from trueup.clock import Clock
from trueup.errors import Busy, Refused, TrueupError
from trueup.store.ledger import Ledger
from trueup.store.standing import Control, Standing
from trueup.who import Actor

#: Looks at whether a stopped run has ended, and seconds between two of them.
STOP_LOOKS = 120
STOP_LOOK_S = 0.5


class Switches:
    """Sets them, in the ledger and in the targets."""

    def __init__(
        self,
        ledger: Ledger,
        standing: Standing,
        clock: Clock,
        fence: Callable[[str, bool], bool],
        lanes: Callable[[str], Sequence[str]],
    ) -> None:
        self.ledger = ledger
        self.standing = standing
        self.clock = clock
        #: Set or clear the kill switch of a projection in its target; False where it has none.
        self.fence = fence
        #: What runs of a projection hold.
        self.lanes = lanes

    def pause(self, name: str, reason: str, actor: Actor) -> None:
        self._set(name, "paused", reason, actor)

    def resume(self, name: str, actor: Actor) -> None:
        if self.standing.control(name).state == "stopped":
            self.fence(name, False)
        self._set(name, "running", "", actor)

    def stop(self, names: Sequence[str], reason: str, actor: Actor) -> None:
        """When this returns, no write of these projections is in flight, and none begins until `resume`.

        The ledger says so for all of them before the first is waited for. One that cannot be stopped for certain does
        not keep the others running. Raises Busy, or the database's error, that names those.
        """
        for name in names:
            self._set(name, "stopped", reason, actor)
        uncertain: list[tuple[str, TrueupError]] = []
        for name in names:
            try:
                self._until_stopped(name)
            except TrueupError as error:
                uncertain.append((name, error))
        if not uncertain:
            return
        if len(names) == 1:
            raise uncertain[0][1]
        told = "; ".join(f"{name}: {error}" for name, error in uncertain)
        raise Busy(f"{len(names) - len(uncertain)} of {len(names)} are stopped for certain. Not so: {told}")

    def _until_stopped(self, name: str) -> None:
        if self.fence(name, True):
            return
        # No fence in this target: a run ends before its next unit; then its lock is free.
        for _ in range(STOP_LOOKS):
            try:
                with locks.hold(self.ledger.engine, *self.lanes(name)):
                    return
            except Refused:
                self.clock.wait(STOP_LOOK_S)
        raise Busy(f"{name}: told to stop, but a run still holds it; it ends before its next repair transaction")

    def _set(self, name: str, state: str, reason: str, actor: Actor) -> None:
        self.standing.set_control(name, Control(state=state, reason=reason, actor=actor.name, at=self.clock.now()))
