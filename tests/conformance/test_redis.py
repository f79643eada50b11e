"""How rows lie in Redis: strings, hashes, members of hashes and sorted sets; odd names and values; settings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis as driver

from tests.conformance.beside import Beside
from tests.servers import started_redis
from trueup import Trueup, Verdict, diff
from trueup.core.findings import State
from trueup.core.guarantee import Guarantee
from trueup.errors import ConfigError, TrueupError


class Cache(Beside):
    name = "cache"

    def __init__(self, folder: Path, url: str) -> None:
        super().__init__(folder, url)
        self.redis = driver.Redis.from_url(url)

    def app(self, side: dict[str, Any], **declared: Any) -> Trueup:
        return self.between(side, **declared)


@pytest.fixture
def cache(redis: str, tmp_path: Path) -> Iterator[Cache]:
    made = Cache(tmp_path, redis)
    yield made
    made.close()
    made.redis.close()


# --- layouts ---------------------------------------------------------------------------------------------------------


def test_a_hash_whose_fields_are_columns(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, title TEXT, n BIGINT", "1, 'a', 5", "2, 'b', NULL", "3, 'c', 7")
    cache.redis.hset("post:1", mapping={"title": "a", "n": 4, "other": "stays"})
    cache.redis.hset("post:2", mapping={"title": "b", "n": 4})
    cache.redis.hset("post:9", mapping={"title": "x"})
    report = cache.app({"pattern": "post:{id}", "type": "hash"}).run("p")
    assert (report.verdict, report.repaired, report.different_by_column) == (Verdict.REPAIRED, 4, {"n": 2})
    assert cache.redis.hgetall("post:1") == {b"title": b"a", b"n": b"5", b"other": b"stays"}
    assert cache.redis.hgetall("post:2") == {b"title": b"b"}  # NULL: no field
    assert cache.redis.hgetall("post:3") == {b"title": b"c", b"n": b"7"}
    assert not cache.redis.exists("post:9")


@pytest.mark.parametrize("type_", ["hash", "sorted_set"])
def test_a_row_for_each_member(cache: Cache, type_: str) -> None:
    cache.table(
        "day DATE, user_id BIGINT, n BIGINT, PRIMARY KEY (day, user_id)",
        *(f"'2026-11-{day}', {user}, {user * 2}" for day in (27, 28) for user in range(1, 300)),
    )

    def add(day: int, user: int, n: int) -> None:
        name = f"top:2026-11-{day}"
        cache.redis.hset(name, str(user), n) if type_ == "hash" else cache.redis.zadd(name, {str(user): n})

    for user in range(1, 299):
        add(27, user, user * 2)
    add(27, 5, 11)
    add(27, 900, 1)
    add(29, 1, 1)
    side = {"pattern": "top:{day}", "type": type_, "member": "user_id", "types": {"day": "date"}}
    app = cache.app(side, key=["day", "user_id"])
    report = app.check("p")
    assert (report.missing, report.extra, report.different) == (1 + 299, 2, 1)
    assert (report.source_rows, report.target_rows) == (598, 300)
    report = app.run("p")
    assert (report.verdict, report.repaired, report.guarantee) == (Verdict.REPAIRED, 303, Guarantee.EXACT)
    assert not cache.redis.exists("top:2026-11-29")
    assert app.check("p").verdict is Verdict.IN_SYNC
    assert app.check("p", keys=[{"day": "2026-11-27", "user_id": 5}]).target_rows == 1


def test_a_row_of_nothing_but_null_is_there_while_its_hash_has_other_fields(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT, m BIGINT", "1, NULL, NULL", "2, NULL, NULL")
    cache.redis.hset("post:1", mapping={"n": 5, "title": "stays"})
    cache.redis.hset("post:2", mapping={"n": 5})
    app = cache.app({"pattern": "post:{id}", "type": "hash"})
    report = app.run("p")
    assert (report.repaired, report.left) == (1, 1)
    assert cache.redis.hgetall("post:1") == {b"title": b"stays"}
    assert cache.redis.hgetall("post:2") == {b"n": b"5"}
    assert "there is nothing to store" in app.drift("p")[0].reason
    assert app.rollback(report.run).repaired == 1
    assert cache.redis.hgetall("post:1") == {b"title": b"stays", b"n": b"5"}


def test_one_key_with_all_members(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n DOUBLE", "1, 0.1", "2, 1e300", "3, -2.5")
    cache.redis.zadd("scores", {"1": 0.1, "2": 1})
    report = cache.app({"pattern": "scores", "type": "sorted_set", "member": "id"}).run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 2)
    assert cache.redis.zrange("scores", 0, -1, withscores=True) == [(b"3", -2.5), (b"1", 0.1), (b"2", 1e300)]


def test_one_key_whose_name_has_braces(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n DOUBLE", "1, 1")
    cache.redis.zadd("{top}", {"1": 1, "9": 9})
    app = cache.app({"pattern": "{{top}}", "type": "sorted_set", "member": "id"})
    assert app.check("p").extra == 1
    assert app.run("p").verdict is Verdict.REPAIRED
    assert cache.redis.zrange("{top}", 0, -1) == [b"1"]


def test_what_a_repair_sends_is_said(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT")
    app = cache.app({"pattern": "post:{id}:likes"})
    assert "WATCH post:{id}:likes; MULTI; SET post:{id}:likes :n KEEPTTL; EXEC" in app.statements("p").values()
    app = cache.app({"pattern": "top", "type": "sorted_set", "member": "id"})
    assert "WATCH top; MULTI; ZREM top :id; EXEC" in app.statements("p").values()


# --- exactness -------------------------------------------------------------------------------------------------------


def test_a_value_that_is_not_spelt_as_its_kind_is_found_and_shown_as_it_stands(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 7", "2, 7", "3, 7", "4, 7")
    for id_, value in enumerate((b"007", b"7", b"7.0", b"\xff"), 1):
        cache.redis.set(f"r:{id_}", value)
    app = cache.app({"pattern": "r:{id}"})
    found = {row["key"]["id"]: row["observed"]["n"] for row in app.check("p").drift}
    assert found == {1: "007", 3: "7.0", 4: "\\xff"}
    assert app.run("p").verdict is Verdict.REPAIRED
    assert [cache.redis.get(f"r:{id_}") for id_ in range(1, 5)] == [b"7"] * 4


@pytest.mark.parametrize(
    ("type_", "stored"), [("text", b"\xff\x00x"), ("boolean", b"yes"), ("integer", b"007"), ("decimal", b"1,5")]
)
def test_what_was_none_of_its_kind_is_put_back_as_it_stood(cache: Cache, type_: str, stored: bytes) -> None:
    cache.table("id INTEGER PRIMARY KEY, n TEXT" if type_ == "text" else "id INTEGER PRIMARY KEY, n", "1, 1")
    cache.redis.set("r:1", stored)
    app = cache.app({"pattern": "r:{id}", "types": {"n": type_}})
    report = app.run("p")
    assert (report.repaired, cache.redis.get("r:1")) == (1, b"1")
    assert app.rollback(report.run).repaired == 1
    assert cache.redis.get("r:1") == stored


@pytest.mark.parametrize(
    ("type_", "stored"),
    [("integer", b"9" * 5000), ("decimal", b"1e99999999"), ("decimal", b"1e99999999999999999999999")],
)
def test_numbers_longer_than_any_database_has_are_told_as_they_stand(cache: Cache, type_: str, stored: bytes) -> None:
    cache.table("id INTEGER PRIMARY KEY, n", "1, 1")
    cache.redis.set("r:1", stored)
    cache.redis.hset("all", "1", stored)
    for side in ({"pattern": "r:{id}"}, {"pattern": "all", "type": "hash", "member": "id"}):
        (row,) = cache.app({**side, "types": {"n": type_}}).check("p").drift
        assert row["observed"]["n"] == stored.decode()


def test_keys_that_are_no_rows_make_the_answer_inconclusive_and_are_named(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 7")
    cache.redis.set("r:1", 7)
    for odd in (b"r:007", b"r:total", b"r:\xff\xfe", b"r:" + b"x" * 5000, b"r:1 \n"):
        cache.redis.set(odd, 1)
    cache.redis.rpush("r:2", 1)
    app = cache.app({"pattern": "r:{id}"})
    with pytest.raises(TrueupError, match=r"6 keys match 'r:\{id\}' and are no rows of it: ") as told:
        app.check("p")
    assert told.value.exit_code == 3
    assert len(str(told.value)) < 1500
    assert cache.redis.dbsize() == 7


def test_text_keys_of_any_kind(cache: Cache) -> None:
    cache.table("id TEXT PRIMARY KEY, n BIGINT")
    names = ["a", "A", "a b", "\n", "\x00", "ü", "\U0001f600", "é", "x" * 5000, "*", "[a-z]?", "a:b", '"', "0", "00"]
    with closing(cache.db.connect()) as c:
        for name in names:
            c.execute("INSERT INTO src VALUES (?, 1)", (name,))
    app = cache.app({"pattern": "t:{id}"})
    report = app.run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, len(names))
    assert {name.decode() for name in cache.redis.keys("t:*")} == {f"t:{name}" for name in names}
    assert app.check("p").verdict is Verdict.IN_SYNC


def test_a_key_that_no_name_can_stand_for_is_said_to_be_one(cache: Cache) -> None:
    cache.table("a TEXT, b TEXT, n BIGINT, PRIMARY KEY (a, b)", "'x:y', 'z', 1", "'x', 'z', 1")
    app = cache.app({"pattern": "t:{a}:{b}"}, key=["a", "b"])
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 1)
    assert "has no name of the pattern" in app.drift("p")[0].reason
    assert cache.redis.keys("t:*") == [b"t:x:z"]


def test_a_key_that_was_made_for_another_row_is_not_deleted(cache: Cache) -> None:
    """`t:x:y:z` is read as (x, y:z), and the application made it for (x:y, z), which is right."""
    cache.table("a TEXT, b TEXT, n BIGINT, PRIMARY KEY (a, b)", "'x:y', 'z', 1", "'x', 'z', 1")
    for name in ("t:x:y:z", "t:x:z", "t:q:r:s", "t:" + ":".join("abc" * 60)):
        cache.redis.set(name, 1)
    app = cache.app({"pattern": "t:{a}:{b}"}, key=["a", "b"])
    report = app.run("p")
    assert (report.extra, report.repaired, report.left) == (3, 1, 3)
    assert sorted(map(len, cache.redis.keys("t:*"))) == [5, 7, 361]
    told = {row.reason for row in app.drift("p")}
    assert "not deleted: its name is that of the source row ('x:y', 'z') too, and nothing tells them apart" in told
    assert any("in so many ways" in why for why in told)


def test_a_row_is_never_written_over_a_key_of_our_own(cache: Cache) -> None:
    cache.table("id TEXT PRIMARY KEY, n BIGINT", "'trueup:fence:p', 1", "'a', 1")
    app = cache.app({"pattern": "{id}"})
    report = app.run("p")
    assert (report.repaired, report.left, cache.redis.get("a")) == (1, 1, b"1")
    assert "would be one of Trueup's own keys" in app.drift("p")[0].reason
    assert cache.redis.type("trueup:fence:p") == b"hash"


@pytest.mark.parametrize("of", [{"pattern": "r:{id}"}, {"pattern": "all", "type": "hash", "member": "id"}])
def test_a_null_that_is_zero_is_written_as_such(cache: Cache, of: dict[str, Any]) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT", "1, NULL", "2, 5")
    app = cache.app(of, nulls={"n": "zero"})
    assert app.run("p").verdict is Verdict.REPAIRED
    assert cache.redis.get("r:1") == b"0" or cache.redis.hget("all", "1") == b"0"
    assert app.check("p").verdict is Verdict.IN_SYNC


def test_a_key_of_another_type_is_no_row_where_only_rows_are_compared(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY", "1", "2")
    cache.redis.hset("r:1", "n", 1)
    cache.redis.set("r:2", 1)
    with pytest.raises(TrueupError, match=r"'r:2' \(WRONGTYPE"):
        cache.app({"pattern": "r:{id}", "type": "hash"}).check("p")


def test_two_columns_are_not_one_field(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT, m BIGINT", "1, 5, 5")
    side = {"pattern": "r:{id}", "type": "hash", "columns": {"n": "x", "m": "x"}}
    with pytest.raises(ConfigError, match="two of them are the field 'x'"):
        cache.app(side, writers=None).check("p")  # with writers it is refused as it is declared


def test_null_is_no_value_of_redis(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT", "1, NULL", "2, 5")
    app = cache.app({"pattern": "r:{id}"})
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 1)
    assert "there is nothing to store" in app.drift("p")[0].reason
    assert cache.redis.get("r:2") == b"5"


# --- declarations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("side", "told"),
    [
        ({"pattern": "likes"}, "is one key"),
        ({"pattern": "likes:{id"}, "expected '}'"),
        ({"pattern": "{id}", "type": "sorted_set"}, "a row for each member"),
        ({"pattern": "{id}", "member": "n"}, "`member` is about a hash or a sorted set"),
        ({"pattern": "{id}", "type": "hash", "member": "id"}, "in the pattern too"),
        ({"pattern": "{id}", "types": {"n": "int"}}, "'int' of 'n' is no type"),
        ({"pattern": "trueup:{id}"}, "are of Trueup's own keys"),
        ({"pattern": "{other}"}, "name one of them|tells its rows apart by other"),
        ({"table": "likes"}, "has no such sides; give `pattern`"),
    ],
)
def test_what_is_wrong_with_a_side_is_said(cache: Cache, side: dict[str, Any], told: str) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT")
    with pytest.raises(ConfigError, match=told):
        cache.app(side).run("p")


def test_a_string_holds_one_value(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT, m BIGINT", "1, 2, 3")
    with pytest.raises(ConfigError, match="name one of them in `columns`"):
        cache.app({"pattern": "{id}"}).check("p")
    cache.redis.set("1", 3)
    assert cache.app({"pattern": "{id}"}, columns="m").check("p").verdict is Verdict.IN_SYNC


def test_types_that_neither_side_knows_have_to_be_declared(cache: Cache) -> None:
    cache.redis.set("r:1", 5)
    side = f"{cache.url}#r:{{id}}"
    with pytest.raises(TrueupError, match="neither side says what 'id' is"):
        diff(side, side, key="id", columns=["n"])
    typed = f"{side} types.id=integer types.n=integer"
    assert diff(typed, typed, key="id", columns=["n"]).verdict is Verdict.IN_SYNC


def test_a_table_has_no_patterns(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT")
    with pytest.raises(TrueupError, match=r"there is no table 'r:{id}'; known: src"):
        diff(f"{cache.db.url}#r:{{id}}", f"{cache.db.url}#src", key="id")


def test_partitions_are_cut_here(cache: Cache) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT, m BIGINT", *(f"{id_}, {id_ % 3}, 1" for id_ in range(30)))
    for id_ in range(1, 30):
        cache.redis.set(f"r:{id_}", id_ % 3)
    cache.redis.set("r:4", 2)
    app = cache.app({"pattern": "r:{id}"}, columns="n", partition={"by": "column", "column": "n"})
    report = app.check("p")
    assert (report.missing, report.different, report.extra) == (1, 1, 0)
    with pytest.raises(ConfigError, match="has to be in `key` or in `columns`"):
        cache.app({"pattern": "r:{id}"}, columns="n", partition={"by": "column", "column": "m"}).check("p")


def test_a_server_that_evicts_any_key_is_only_reported(cache: Cache, tmp_path: Path) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 5", "2, 5")
    with started_redis(tmp_path, "--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru") as server:
        cache.url = server.url
        with driver.Redis.from_url(server.url) as client:
            client.set("r:1", 4)
            app = cache.app({"pattern": "r:{id}"})
            assert app.explain("p").promise.guarantee is Guarantee.REPORT_ONLY
            assert "allkeys-lru" in app.explain("p").promise.reasons[0]
            report = cache.app({"pattern": "r:{id}", "expiring": True}).run("p")
            assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 1)
            assert client.keys() == [b"r:1"]  # no marker there: it could be evicted, and would then prove a lie


def test_what_a_repair_depends_on_is_found_out(cache: Cache, tmp_path: Path) -> None:
    cache.table("id INTEGER PRIMARY KEY, n BIGINT")
    told = cache.app({"pattern": "r:{id}"})._adapter("cache").examiner.server()
    assert {f.check: f.state for f in told.findings} == {
        "role": State.OK,
        "version": State.OK,
        "maxmemory-policy": State.OK,
        "appendonly": State.WARN,
    }
    assert told.version
    with started_redis(tmp_path, "--maxmemory-policy", "allkeys-lfu", "--appendonly", "yes") as server:
        cache.url = server.url
        worse = cache.app({"pattern": "r:{id}"})._adapter("cache").examiner.server()
    states = {f.check: f.state for f in worse.findings}
    assert (states["maxmemory-policy"], states["appendonly"]) == (State.WARN, State.OK)
