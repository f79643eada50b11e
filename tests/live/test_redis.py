"""Counters in Redis, repaired while an application writes them; what naive repairs do in the same moments.

The source is SQLite, whose writes are visible at once. `expected` is read between WATCH and EXEC.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis as driver

from tests.live.beside import Beside, meanwhile
from tests.live.harness import WIDE, QuickClock, around
from trueup import Projection, Side, Trueup
from trueup.adapters._redis_unit import RedisUnit
from trueup.core.guarantee import Guarantee
from trueup.core.states import Outcome, Verdict
from trueup.errors import ConnectionFailed, Refused, TakenOver
from trueup.writers import publish, retract

VALUE_CAS = "if redis.call('GET',KEYS[1])==ARGV[1] then redis.call('SET',KEYS[1],ARGV[2]) return 1 end return 0"


class Cache(Beside):
    """Likes of posts in SQLite, and their number in Redis."""

    projection = "likes"
    name = "cache"
    place = {"pattern": "likes:{post}"}  # noqa: RUF012

    def __init__(self, folder: Path, url: str, *, fresh: bool = True) -> None:
        super().__init__(folder, url, fresh=fresh)
        self.redis = driver.Redis.from_url(url)

    def deliver(self, post: int, n: int | None) -> None:
        if n is None:
            self.redis.delete(f"likes:{post}")
        else:
            self.redis.set(f"likes:{post}", n)

    def held(self, post: int) -> int | None:
        held = self.redis.get(f"likes:{post}")
        return None if held is None else int(held)


@pytest.fixture
def cache(redis: str, tmp_path: Path) -> Iterator[Cache]:
    made = Cache(tmp_path, redis)
    yield made
    made.redis.close()


@pytest.fixture
def wrong(cache: Cache) -> Cache:
    """Post 1 has 5 likes, and 3 in Redis."""
    cache.source(1, 5)
    cache.deliver(1, 3)
    return cache


# --- naive repairs are seen to fail ----------------------------------------------------------------------------------


def test_control_get_then_set_overwrites_newer_state(wrong: Cache) -> None:
    expected = wrong.state()[0]
    wrong.write(1, 7)
    wrong.redis.set("likes:1", expected)
    assert wrong.state() == (7, 5)


def test_control_a_script_that_compares_values_takes_7_8_7_for_untouched(wrong: Cache) -> None:
    expected = 5
    wrong.write(1, 7)
    wrong.write(1, 3)
    assert wrong.redis.eval(VALUE_CAS, 1, "likes:1", 3, expected) == 1
    assert wrong.state() == (3, 5)


def test_control_the_source_first_and_the_version_second_overwrites_newer_state(wrong: Cache) -> None:
    expected = wrong.state()[0]
    wrong.write(1, 7)
    with wrong.redis.pipeline() as pipe:
        pipe.watch("likes:1")
        pipe.get("likes:1")
        pipe.multi()
        pipe.set("likes:1", expected)
        assert pipe.execute() == [True]
    assert wrong.state() == (7, 5)


def test_control_watch_does_not_see_an_increment_that_is_on_its_way(wrong: Cache) -> None:
    wrong.source(1, 6)  # committed; the writer has not sent its INCR yet
    with wrong.redis.pipeline() as pipe:
        pipe.watch("likes:1")
        expected = wrong.state()[0]
        pipe.multi()
        pipe.set("likes:1", expected)
        assert pipe.execute() == [True]
    wrong.redis.incr("likes:1")
    assert wrong.state() == (6, 7)


# --- ours: watch, then read the key, then the source, then write ------------------------------------------------------


def test_a_delivery_in_between_is_not_overwritten(wrong: Cache) -> None:
    with meanwhile(lambda: wrong.write(1, 7)):
        verdict, outcomes = wrong.run()
    assert wrong.state() == (7, 7)
    assert (verdict, outcomes) == (Verdict.REPAIRED, {1: Outcome.SUPERSEDED})


def test_a_value_that_comes_back_is_seen_to_have_been_touched(wrong: Cache) -> None:
    with meanwhile(lambda: wrong.write(1, 7), lambda: wrong.write(1, 3)):
        _, outcomes = wrong.run()
    assert wrong.state() == (3, 3)
    assert outcomes == {1: Outcome.SUPERSEDED}


def test_a_source_commit_that_is_not_delivered_yet_is_in_what_we_write(wrong: Cache) -> None:
    with around(RedisUnit, "read", after=lambda: wrong.source(1, 9)):
        _, outcomes = wrong.run()
    assert wrong.state() == (9, 9)
    assert outcomes == {1: Outcome.APPLIED}


def test_one_hot_row_does_not_keep_the_others_from_being_written(cache: Cache) -> None:
    for post in range(1, 41):
        cache.source(post, 5)
        cache.deliver(post, 3)
    with meanwhile(lambda: cache.write(7, 8)):
        verdict, outcomes = cache.run()
    assert verdict is Verdict.REPAIRED
    assert outcomes.pop(7) is Outcome.SUPERSEDED
    assert set(outcomes.values()) == {Outcome.APPLIED}
    assert {cache.state(post) for post in range(1, 41)} == {(5, 5), (8, 8)}


def test_a_row_that_never_rests_is_left_and_said_so(wrong: Cache) -> None:
    values = iter(range(100, 200))
    original = RedisUnit.write

    def restless(self: RedisUnit, rows: Any) -> Any:
        wrong.deliver(1, next(values))
        return original(self, rows)

    RedisUnit.write = restless  # type: ignore[method-assign]
    try:
        _, outcomes = wrong.run()
    finally:
        RedisUnit.write = original  # type: ignore[method-assign]
    assert outcomes == {1: Outcome.NOT_APPLIED}


def test_a_missing_key_that_is_delivered_meanwhile_stays(cache: Cache) -> None:
    cache.source(1, 5)
    with meanwhile(lambda: cache.write(1, 7)):
        cache.run()
    assert cache.state() == (7, 7)


def test_a_missing_key_whose_source_goes_away_is_not_left_behind(cache: Cache) -> None:
    cache.source(1, 5)
    with meanwhile(lambda: cache.source(1, None)):
        cache.run()
    assert cache.state() == (None, None)


def test_an_extra_key_that_gets_a_source_meanwhile_is_not_deleted(cache: Cache) -> None:
    cache.source(2, 2)
    cache.deliver(2, 2)
    cache.deliver(1, 5)
    with around(RedisUnit, "read", after=lambda: cache.source(1, 6)):
        cache.run()
    assert cache.state() == (6, 6)


def test_a_time_to_live_is_kept(cache: Cache) -> None:
    cache.source(1, 5)
    cache.source(2, 5)
    cache.redis.set("likes:1", 3, ex=1000)
    side = Side(database="cache", pattern="likes:{post}", expiring=True)
    verdict, outcomes = cache.run(target=side)
    assert (verdict, outcomes) == (Verdict.REPAIRED, {1: Outcome.APPLIED})
    assert 900 < cache.redis.ttl("likes:1") <= 1000
    assert cache.state(2) == (5, None)  # not in the cache: no drift


def test_a_key_that_may_go_away_is_not_made_anew_by_a_rollback(cache: Cache) -> None:
    cache.redis.set("likes:9", 3, ex=1000)
    side = Side(database="cache", pattern="likes:{post}", expiring=True)
    cache.source(1, 5)
    with closing(cache.engine(target=side)) as engine:
        report = engine.run("likes")
        assert (report.repaired, report.extra, cache.held(9)) == (1, 1, None)
        back = engine.rollback(report.run)
        assert (back.verdict, back.left, cache.held(9)) == (Verdict.DRIFT, 1, None)
        (outcome,) = engine.outcomes(back.run)
    assert "no time to live" in outcome.evidence


def test_keys_with_a_time_to_live_have_to_be_declared(cache: Cache) -> None:
    cache.source(1, 5)
    cache.redis.set("likes:1", 3, ex=1000)
    with closing(cache.engine()) as engine:
        promise = engine.explain("likes").promise
    assert promise.guarantee is Guarantee.REPORT_ONLY
    assert "expiring = true" in promise.reasons[0]


def test_a_source_whose_keys_go_away_is_no_truth(cache: Cache) -> None:
    cache.source(1, 5)
    cache.redis.set("likes:1", 3, ex=1000)
    projection = Projection(
        name="back",
        source=Side(database="cache", pattern="likes:{post}"),
        target=Side(database="app", table="posts"),
        key="post",
        writers="absolute",
    )
    engine = Trueup(
        databases={"app": cache.db.url, "cache": cache.url},
        projections=[projection],
        ledger=f"sqlite:///{cache.folder / 'ledger.db'}",
    )
    with closing(engine), pytest.raises(Refused, match=r"the source: .* has a time to live"):
        engine.run("back")


def test_increments_are_never_written_over(wrong: Cache) -> None:
    with closing(wrong.engine(writers="increments")) as engine, pytest.raises(Refused, match="REPORT-ONLY"):
        engine.run("likes")
    assert wrong.state() == (5, 3)


# --- versioned values ------------------------------------------------------------------------------------------------


@pytest.fixture
def versioned(cache: Cache) -> Iterator[Trueup]:
    """Post 1 has 5 likes at version 3; what was published at version 3 never came."""
    cache.db.sql("CREATE TABLE versions(post INTEGER PRIMARY KEY, n BIGINT, v BIGINT)")
    cache.db.sql("INSERT INTO versions VALUES (1, 5, 3)")
    publish(cache.redis, "post:1", 1, {"n": 3})
    projection = Projection(
        name="versions",
        source=Side(database="app", table="versions"),
        target=Side(database="cache", pattern="post:{post}", type="hash"),
        key="post",
        columns=("n", "v"),
        version="v",
        writers="versioned",
        on_extra="delete",
        settle=0,
        limits=WIDE,
    )
    engine = Trueup(
        databases={"app": cache.db.url, "cache": cache.url},
        projections=[projection],
        ledger=f"sqlite:///{cache.folder / 'ledger.db'}",
        clock=QuickClock(),
    )
    yield engine
    engine.close()


def test_a_late_message_does_not_undo_a_repair(cache: Cache, versioned: Trueup) -> None:
    assert versioned.run("versions").verdict is Verdict.REPAIRED
    assert not publish(cache.redis, "post:1", 2, {"n": 4})  # late
    assert not publish(cache.redis, "post:1", 3, {"n": 5})  # twice
    assert cache.redis.hgetall("post:1") == {b"n": b"5", b"v": b"3"}
    assert publish(cache.redis, "post:1", 4, {"n": 6})


def test_a_row_that_is_deleted_is_not_brought_back_by_a_late_message(cache: Cache, versioned: Trueup) -> None:
    cache.db.sql("DELETE FROM versions")
    publish(cache.redis, "post:1", 2, {"n": 4})
    cache.db.sql("INSERT INTO versions VALUES (2, 1, 1)")
    publish(cache.redis, "post:2", 1, {"n": 1})
    assert versioned.run("versions").verdict is Verdict.REPAIRED
    assert not publish(cache.redis, "post:1", 1, {"n": 3})
    assert cache.redis.hgetall("post:1") == {b"v": b"2"}
    retract(cache.redis, "post:1", 5)
    assert versioned.check("versions").verdict is Verdict.IN_SYNC  # a tombstone is no row


def test_a_row_whose_values_are_all_null_would_be_a_tombstone_and_is_left(cache: Cache, versioned: Trueup) -> None:
    cache.db.sql("UPDATE versions SET n = NULL, v = 4")
    report = versioned.run("versions")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 0, 1)
    assert "all are NULL" in versioned.drift("versions")[0].reason
    assert cache.redis.hgetall("post:1") == {b"n": b"3", b"v": b"1"}


def test_a_rollback_brings_a_deleted_row_back_in_place_of_its_own_tombstone_only(
    cache: Cache, versioned: Trueup
) -> None:
    for post in (2, 3):
        publish(cache.redis, f"post:{post}", 2, {"n": 4})
    report = versioned.run("versions")
    assert (report.verdict, report.extra) == (Verdict.REPAIRED, 2)
    retract(cache.redis, "post:3", 7)
    back = versioned.rollback(report.run)
    assert (back.repaired, back.left) == (2, 1)
    assert cache.redis.hgetall("post:2") == {b"n": b"4", b"v": b"2"}
    assert cache.redis.hgetall("post:3") == {b"v": b"7"}
    left = [outcome.evidence for outcome in versioned.outcomes(back.run) if outcome.outcome is Outcome.CAS_LOST]
    assert left == ["it was deleted again since, by a newer version"]


# --- what the server refuses ------------------------------------------------------------------------------------------


def test_why_a_transaction_was_refused_is_said(wrong: Cache) -> None:
    """EXEC says only that there was a reason."""
    wrong.redis.execute_command("ACL", "SETUSER", "test-reads", "reset", "on", ">x", "~*", "+@all", "-set")
    url = wrong.url
    try:
        wrong.url = url.replace("://", "://test-reads:x@")
        with pytest.raises(ConnectionFailed, match="no permissions to run the 'set' command"):
            wrong.run()
    finally:
        wrong.url = url
        wrong.redis.execute_command("ACL", "DELUSER", "test-reads")
    assert wrong.state() == (5, 3)


def test_a_server_without_memory_is_tried_again(wrong: Cache) -> None:
    def memory(most: int) -> None:
        wrong.redis.config_set("maxmemory", most)

    try:
        with closing(wrong.engine()) as engine, around(RedisUnit, "write", before=lambda: memory(1)):
            assert isinstance(engine.clock, QuickClock)
            engine.clock.meanwhile += [lambda: memory(0)] * 20
            assert engine.run("likes").verdict is Verdict.REPAIRED
    finally:
        memory(0)
    assert wrong.state() == (5, 5)


# --- the fence -------------------------------------------------------------------------------------------------------


def test_nothing_is_written_after_stop_returned(wrong: Cache) -> None:
    def stop() -> None:
        with closing(wrong.engine()) as other:
            other.stop("likes", reason="test")

    with meanwhile(stop), pytest.raises(Refused, match="stopped"):
        wrong.run()
    assert wrong.state() == (5, 3)
    with closing(wrong.engine()) as other:
        other.resume("likes")
    assert wrong.run()[0] is Verdict.REPAIRED


def test_an_older_run_writes_nothing_once_another_took_over(wrong: Cache) -> None:
    def take_over() -> None:
        with closing(wrong.engine()) as other:
            other._adapter("cache").raise_fence("likes")

    with meanwhile(take_over), pytest.raises(TakenOver):
        wrong.run()
    assert wrong.state() == (5, 3)


def test_a_fence_that_was_deleted_is_said_to_be_gone(wrong: Cache) -> None:
    with around(RedisUnit, "read", before=wrong.redis.flushdb), pytest.raises(TakenOver, match="is gone"):
        wrong.run()
    assert wrong.state() == (5, None)
    assert wrong.run()[0] is Verdict.REPAIRED
    assert wrong.state() == (5, 5)


def test_control_without_the_fence_it_would_have(wrong: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_over() -> None:
        with closing(wrong.engine()) as other:
            other._adapter("cache").raise_fence("likes")

    monkeypatch.setattr(RedisUnit, "_hold_fence", lambda self: None)
    with meanwhile(take_over):
        wrong.run()
    assert wrong.state() == (5, 5)
