"""Applications that copy: whole values are committed in the source, and then put into the target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis
from _applications import KEYS, Application, Drift
from _databases import Session

from trueup import Side
from trueup.writers import publish, retract

#: A repair inserts rows without it, so it needs a default.
DELETED = "boolean NOT NULL DEFAULT false"


class Copied(Application):
    """The source is committed, then the value is put into the copy; a key's changes arrive in order."""

    owned = True
    declared: Mapping[str, Any] = {"writers": "absolute", "settle": 0, "on_extra": "delete", "columns": ("val",)}

    def make(self) -> None:
        docs = ", ".join(f"({key}, {key % 10})" for key in range(1, KEYS + 1))
        for db, name in ((self.db, "docs"), (self.there, "copies")):
            db.execute(f"CREATE TABLE {name} (k int PRIMARY KEY, val bigint NOT NULL)")
            db.execute(f"INSERT INTO {name} VALUES {docs}")

    def sides(self) -> dict[str, Any]:
        target = Side(database=self._copy, table="copies")
        return {"source": Side(database="app", table="docs"), "target": target, "key": ("k",)}

    def write(self) -> None:
        key = self.key()
        value = None if self.chance.random() < 0.15 else self.chance.randrange(10)  # values come back
        self.db.together(lambda: self._put(self.db, "docs", key, value))
        self.put(key, value)

    def put(self, key: int, value: int | None) -> None:
        """Into the copy; None: away with it."""
        self.there.together(lambda: self._put(self.there, "copies", key, value))

    @staticmethod
    def _put(db: Session, name: str, key: int, value: int | None) -> None:
        if value is None:
            db.execute(f"DELETE FROM {name} WHERE k = ?", key)
        else:
            new = db.words.new.format("val")
            db.execute(f"INSERT INTO {name} (k, val) VALUES (?, ?) {db.words.on_conflict} val = {new}", key, value)

    def plant(self) -> None:
        for key in (*self._to_spoil(), self._extra()):
            self.put(key, 10 + self.chance.randrange(5))
        self.put(self._missing(), None)

    def true(self) -> dict[int, int]:
        return dict(self.db.rows("SELECT k, val FROM docs"))

    def held(self) -> dict[int, int]:
        return dict(self.there.rows("SELECT k, val FROM copies"))

    def drift(self) -> Drift:
        true, held = self.true(), self.held()
        both = {key: (true.get(key), held.get(key)) for key in true.keys() | held.keys()}
        return {key: values for key, values in both.items() if values[0] != values[1]}


class Cached(Copied):
    """The same with a key of Redis for each row."""

    def _target(self) -> Session:
        self.redis = redis.Redis.from_url(self.urls[1], decode_responses=True)
        return self.db

    def make(self) -> None:
        super().make()
        for key, value in self.true().items():
            self.put(key, value)

    def sides(self) -> dict[str, Any]:
        return {**super().sides(), "target": Side(database="copy", pattern="doc:{k}")}

    def put(self, key: int, value: int | None) -> None:
        if value is None:
            self.redis.delete(f"doc:{key}")
        else:
            self.redis.set(f"doc:{key}", value)

    def held(self) -> dict[int, int]:
        names = list(self.redis.scan_iter("doc:*"))
        values = self.redis.mget(names) if names else []
        return {int(n.removeprefix("doc:")): int(v) for n, v in zip(names, values, strict=True) if v is not None}


class Versioned(Copied):
    """Whole values with a version that the source issues, delivered late, twice and in any order."""

    owned = False
    declared: Mapping[str, Any] = {
        **Copied.declared,
        "writers": "versioned",
        "version": "v",
        "tombstone": {"column": "deleted"},
    }

    def make(self) -> None:
        docs = ", ".join(f"({key}, {key % 10}, 1, false)" for key in range(1, KEYS + 1))
        for db, name in ((self.db, "docs"), (self.there, "copies")):
            db.execute(f"CREATE TABLE {name} (k int PRIMARY KEY, val bigint, v bigint, deleted {DELETED})")
            db.execute(f"INSERT INTO {name} VALUES {docs}")

    def write(self) -> None:
        key, value, gone = self.key(), self.chance.randrange(10), self.chance.random() < 0.15

        def steps() -> Any:
            change = "UPDATE docs SET val = ?, deleted = ?, v = v + 1 WHERE k = ?"
            self.db.execute(change, value, gone, key)
            return self.db.rows("SELECT k, val, v, deleted FROM docs WHERE k = ?", key)[0]

        message = self.db.together(steps)
        self.queue += [message] * (2 if self.chance.random() < 0.1 else 1)
        self.deliver_some()

    def deliver(self, message: Any) -> None:
        key, value, version, gone = message
        new, words = self.there.words.new.format, self.there.words
        insert = f"INSERT INTO copies (k, val, v, deleted) VALUES (?, ?, ?, ?) {words.on_conflict}"
        if self.there.kind == "mariadb":  # `v` last: assignments are made in order
            newer = f"{new('v')} > v"
            change = f"val = IF({newer}, {new('val')}, val), deleted = IF({newer}, {new('deleted')}, deleted)"
            change += f", v = GREATEST(v, {new('v')})"
        else:
            change = f"val = {new('val')}, v = {new('v')}, deleted = {new('deleted')} WHERE copies.v < {new('v')}"
        self.there.together(lambda: self.there.execute(f"{insert} {change}", key, value, version, bool(gone)))

    def plant(self) -> None:
        for key in self._to_spoil():
            self.there.execute("UPDATE copies SET val = val + 10 WHERE k = ?", key)
        self.there.execute("DELETE FROM copies WHERE k = ?", self._missing())
        extra = self._extra()
        self.there.execute("DELETE FROM copies WHERE k = ?", extra)
        self.there.execute("INSERT INTO copies (k, val, v, deleted) VALUES (?, 1, 1, false)", extra)

    def true(self) -> dict[int, int]:
        return dict(self.db.rows("SELECT k, val FROM docs WHERE NOT deleted"))

    def held(self) -> dict[int, int]:
        return dict(self.there.rows("SELECT k, val FROM copies WHERE NOT deleted"))


class Published(Versioned):
    """The same with a hash of Redis for each row, written by `trueup.writers`."""

    declared: Mapping[str, Any] = {name: value for name, value in Versioned.declared.items() if name != "tombstone"}
    _target = Cached._target

    def make(self) -> None:
        super().make()
        for message in self.db.rows("SELECT k, val, v, deleted FROM docs"):
            self.deliver(message)

    def sides(self) -> dict[str, Any]:
        source = Side(database="app", query="SELECT k, val, v FROM docs WHERE NOT deleted")
        return {"source": source, "target": Side(database="copy", pattern="ver:{k}", type="hash"), "key": ("k",)}

    def deliver(self, message: Any) -> None:
        key, value, version, gone = message
        if gone:
            retract(self.redis, f"ver:{key}", version)
        else:
            publish(self.redis, f"ver:{key}", version, {"val": value})

    def plant(self) -> None:
        for key in self._to_spoil():
            if self.redis.hexists(f"ver:{key}", "val"):
                self.redis.hincrby(f"ver:{key}", "val", 10)
        self.redis.delete(f"ver:{self._missing()}")
        self.redis.hset(f"ver:{self._extra()}", mapping={"val": 1, "v": 1})

    def held(self) -> dict[int, int]:
        names = list(self.redis.scan_iter("ver:*"))
        values = {name: self.redis.hget(name, "val") for name in names}
        return {int(name.removeprefix("ver:")): int(value) for name, value in values.items() if value is not None}
