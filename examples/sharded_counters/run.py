"""Counters in shards, in SQL; and with `--with redis` counters in Redis, repaired while increments go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from functools import partial

from examples._kit import Faults, Stage, Traffic, example
from examples.sharded_counters.generations import Generations
from examples.sharded_counters.shards import Shards
from tests.servers import started_redis


def play(stage: Stage) -> None:
    with ExitStack() as stack:
        make: Callable[[], Shards | Generations] = partial(Shards, stage.url())
        if stage.variant == "redis":
            os.environ["REDIS_URL"] = stack.enter_context(started_redis(stage.folder)).url
            make = partial(Generations, stage.url(), os.environ["REDIS_URL"])
        counters = stack.enter_context(closing(make()))
        counters.make()
        with Traffic(make, seed=stage.seed) as traffic:
            faults = counters.spoil(stage.chance)
            if stage.naive:
                stage.say("Count, then set, while increments go on:")
                counters.recount(traffic)
            else:
                repair(stage, faults, traffic)
            counters.go_on()
        if not stage.naive:
            stage.say("The application rests, and its last increments have arrived.")
            stage.trueup("check", code=0)
        stage.end(counters.wrong(), traffic.writes)


def repair(stage: Stage, faults: Mapping[str, Faults], traffic: Traffic) -> None:
    for name, spoilt in faults.items():
        stage.say(f"What is wrong in {name}?")
        stage.trueup("check", name, code=1)
        stage.score(stage.found(name), spoilt)
        stage.say("It is repaired, while increments go on.")
        stage.trueup("run", name, code=0)
        traffic.wait(300)


if __name__ == "__main__":
    example(play, __file__, variants=("redis",))
