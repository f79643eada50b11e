"""What a URL of Redis may say, what of it is never shown, and the rights that the documentation says are needed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import redis as driver

from tests.conformance.beside import Beside
from trueup import Verdict
from trueup.adapters import connect
from trueup.core.findings import State
from trueup.core.guarantee import Guarantee
from trueup.core.side import Database
from trueup.errors import ConfigError
from trueup.urls import address, for_redis

DOCS = Path(__file__).parents[2] / "docs" / "redis.md"


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://:s3cr/et@cache:6379/0", "its port is no number; a / in a password is written %2F"),
        ("redis://:s3cr#et@cache:6379/0", "its port is no number"),
        ("redis://:12/s3cr@cache:6379/0", "a / in a password is written %2F"),
        ("redis://:12?s3cr@cache:6379/0", "a / in a password is written %2F"),
        ("redis://:12#s3cr@cache:6379/0", "a / in a password is written %2F"),
        ("redis://cache/app", "the number of a logical database, like /0"),
        ("redis://cache/0/1", "the number of a logical database, like /0"),
        ("redis://cache?decode_responses=true", "'decode_responses' is no setting; known: db, "),
        ("redis://cache?ssl_keyfile=x", "'ssl_keyfile' is no setting"),
        ("redis://cache?db=x", "Invalid value for 'db'"),
    ],
)
def test_a_url_that_would_be_understood_as_another_is_refused_without_its_secret(url: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as refused:
        connect("cache", Database(url=url))
    assert "s3cr" not in str(refused.value)


def test_urls_as_the_driver_has_them() -> None:
    assert for_redis("valkey://u:p%2Fq@h:1/3?socket_timeout=2") == "redis://u:p%2Fq@h:1/3?socket_timeout=2"
    assert for_redis("valkeys://h?ssl_ca_certs=x") == "rediss://h?ssl_ca_certs=x"
    assert for_redis("rediss://h/0/?ssl_ca_path=/ca&ssl_password=x") == "rediss://h/0/?ssl_ca_path=/ca&ssl_password=x"
    assert for_redis("redis://h/0?username=me@home") == "redis://h/0?username=me@home"
    assert address("groonga://u:a@b@h:1").hostname == "h"


@pytest.mark.parametrize("scheme", ["groonga", "opensearch"])
def test_no_other_store_shows_a_part_of_a_password(scheme: str) -> None:
    adapter: Any = connect("search", Database(url=f"{scheme}://u:s3cr/et@search:9200"))
    with pytest.raises(ConfigError, match="its port is no number") as refused:
        adapter.describe(_side(scheme))
    assert "s3cr" not in str(refused.value)


def _side(scheme: str) -> Any:
    from trueup import Side

    return Side(database="search", **({"table": "T"} if scheme == "groonga" else {"index": "t", "id": "{id}"}))


# --- rights ----------------------------------------------------------------------------------------------------------


def rights(user: str, type_: str, *, repair: bool) -> list[str]:
    """The rights of a user for rows of a type, as the documentation has them."""
    text = DOCS.read_text()
    (told,) = re.findall(rf"ACL SETUSER {user} on >secret (.*?)TYPES", text, re.DOTALL)
    ((reading, writing),) = re.findall(rf"^\| {type_} \| (.*?) \| (.*?)\|$", text, re.MULTILINE)
    return re.findall(r"[+~][\w|:*]+", told.replace("post:", "r:") + reading + (writing if repair else ""))


#: Type in the documentation -> the side, and a command that makes a wrong row and one that is left over.
TYPES: dict[str, tuple[dict[str, Any], str, str]] = {
    "strings": ({"pattern": "r:{id}"}, "SET r:1 4", "SET r:9 4"),
    "hashes": ({"pattern": "r:{id}", "type": "hash"}, "HSET r:1 n 4 m 1", "HSET r:9 n 4"),
    "hashes with members": ({"pattern": "r:all", "type": "hash", "member": "id"}, "HSET r:all 1 4", "HSET r:all 9 4"),
    "sorted sets": ({"pattern": "r:all", "type": "sorted_set", "member": "id"}, "ZADD r:all 4 1", "ZADD r:all 4 9"),
}


@pytest.mark.parametrize("type_", TYPES)
def test_the_documented_rights_are_enough(redis: str, tmp_path: Path, type_: str) -> None:
    side, wrong, left_over = TYPES[type_]
    world = Beside(tmp_path, redis)
    world.name = "cache"
    world.table("id INTEGER PRIMARY KEY, n BIGINT, m BIGINT", "1, 5, NULL", "2, 6, 7")
    columns = ["n", "m"] if type_ == "hashes" else ["n"]
    with driver.Redis.from_url(redis) as admin:
        number = admin.connection_pool.connection_kwargs.get("db", 0)
        admin.execute_command(wrong)
        admin.execute_command(left_over)
        try:
            for user, repair in (("reader", False), ("trueup", True)):
                given = [*rights(user, type_, repair=repair), *(["+select"] if number else [])]
                admin.execute_command("ACL", "SETUSER", f"test-{user}", "reset", "on", ">secret", *given)
                world.url = redis.replace("://", f"://test-{user}:secret@")
                app = world.between(side, columns=columns)
                if repair:
                    assert app.run("p").verdict is Verdict.REPAIRED
                    found = app._adapter("cache").examiner.sides(app.binding("p", writing=True), ("target",))
                    assert {each.check: each.state for each in found if each.state is not State.OK} == {}
                report = app.check("p")
                assert (report.missing, report.different, report.extra) == ((0, 0, 0) if repair else (1, 1, 1))
        finally:
            world.close()
            admin.execute_command("ACL", "DELUSER", "test-reader", "test-trueup")


@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.parametrize(
    ("lacks", "checks"),
    [
        ("@write", {"may write", "may delete", "markers"}),
        ("@transaction", {"may write"}),
        ("multi", {"may write"}),
        ("hincrby", {"markers"}),
    ],
)
def test_rights_that_lack_are_found_by_the_doctor_who_changes_nothing(
    redis: str, tmp_path: Path, type_: str, lacks: str, checks: set[str]
) -> None:
    world = Beside(tmp_path, redis.replace("://", "://test-lacks:secret@"))
    world.name = "cache"
    world.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 5")
    with driver.Redis.from_url(redis) as admin:
        admin.execute_command("ACL", "SETUSER", "test-lacks", "reset", "on", ">secret", "~*", "+@all", f"-{lacks}")
        try:
            app = world.between(TYPES[type_][0])
            (told,) = app.doctor("p").diagnoses
            assert {each.check for each in told.findings if each.state is State.FAIL} == checks
            assert told.promise.guarantee is Guarantee.REPORT_ONLY
            assert admin.dbsize() == 0
        finally:
            world.close()
            admin.execute_command("ACL", "DELUSER", "test-lacks")
