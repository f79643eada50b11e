"""For the application that keeps counters in another store: two ways to write that a repair can be exact with.

An increment that was lost and one that is on its way look alike from outside, so a counter that is only incremented
cannot be repaired. Either of these takes the doubt away, in a few lines on the writer's side:

* *versioned*: what is sent is the whole value and a version that the source issued; the store keeps the newest.
* *generation-fenced*: increments go to the generation that the source's transaction read; a repair begins a new one, so
  that whatever is late counts nowhere.

Nothing here needs the engine: a DB-API cursor on the source, a client of the store. `layout` is what is stored, for
both the writers and the repair.
"""

from trueup.writers.fenced import increment, rebase, total
from trueup.writers.issued import Numbers
from trueup.writers.versioned import publish, retract

__all__ = ["Numbers", "increment", "publish", "rebase", "retract", "total"]
