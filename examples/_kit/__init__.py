"""What the examples share: a stage, the application's traffic, the list of what was spoilt (`examples/README.md`)."""

from examples._kit.connections import Database, transaction
from examples._kit.faults import Faults, Key
from examples._kit.stage import Stage, example
from examples._kit.traffic import Traffic

__all__ = ["Database", "Faults", "Key", "Stage", "Traffic", "example", "transaction"]
