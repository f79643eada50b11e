"""What a user may do with the keys of a projection, tried without doing it: a server refuses a command when it is
queued, and a connection that is closed before EXEC takes what it has queued with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from redis.exceptions import RedisError

from trueup.adapters._redis_layout import GENERATIONS, Command, Layout
from trueup.adapters._redis_session import Session
from trueup.adapters._redis_unit import fence_key, marker_key
from trueup.core.binding import Binding
from trueup.core.findings import Finding, fact
from trueup.core.guarantee import Guarantee

#: A part of a name, a member, a field, a number: nothing is read or written under it.
ANY = "0"
_WHY: Mapping[str, str] = {
    "may write": "no row could be repaired",
    "may delete": "a row whose source is gone, or went while it was inserted, is deleted",
    "markers": "a repair holds a fence, and leaves behind what it has written",
}


def rights(session: Session, layout: Layout, binding: Binding, *, markers: bool) -> list[Finding]:
    """What repairs of a projection need of the user, and of the server at this moment. The session is used up."""
    name = ANY.join(layout.pattern.between).encode()
    tried = {"may write": _writing(layout, name)}
    if binding.projection.on_missing == "insert" or binding.projection.extra_policy == "delete":
        tried["may delete"] = _deleting(layout, name)
    if markers:
        tried["markers"] = _keeping(binding.projection.name)
    opened = session.send([("WATCH", name), ("MULTI",)])
    queues = not any(isinstance(answer, RedisError) for answer in opened)
    # Without MULTI they would not be queued, but carried out.
    answers = session.send([command for commands in tried.values() for command in commands]) if queues else []
    session.drop()
    if not queues:
        return [_found("may write", opened)]
    return [_found(check, [answers.pop(0) for _ in commands]) for check, commands in tried.items()]


def _found(check: str, answers: Sequence[object]) -> Finding:
    refused = next((str(answer) for answer in answers if isinstance(answer, RedisError)), "")
    return fact(
        check,
        not refused,
        refused or "the commands are allowed",
        why=_WHY[check],
        remedy="see Access control in docs/redis.md for the user's rights, or find what else the server refuses",
        cap=Guarantee.REPORT_ONLY,
    )


def _writing(layout: Layout, name: bytes) -> list[Command]:
    commands: Mapping[str, list[Command]] = {
        "string": [("SET", name, ANY, "KEEPTTL")],
        "hash": [("HSET", name, ANY, ANY), ("HDEL", name, ANY)],
        "sorted_set": [("ZADD", name, ANY, ANY)],
        GENERATIONS: [("EVAL", "return 0", 1, name)],
    }
    return commands[layout.type]


def _deleting(layout: Layout, name: bytes) -> list[Command]:
    if not layout.member:
        return [("DEL", name)]
    return [("HDEL" if layout.type == "hash" else "ZREM", name, ANY)]


def _keeping(projection: str) -> list[Command]:
    fence, marker = fence_key(projection), marker_key(ANY)
    return [
        ("HINCRBY", fence, ANY, 1),
        ("HSET", fence, ANY, ANY),
        ("HMGET", fence, ANY),
        ("SET", marker, ANY),
        ("GET", marker),
        ("EXISTS", marker),
        ("DEL", marker),
    ]
