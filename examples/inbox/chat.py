"""The application, and the projector that carries its events to the read models: late, doubled, in any order."""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from examples._kit import Database, transaction

HERE = Path(__file__).parent
CONVERSATIONS, USERS, IN_EACH = 60, 40, 5
#: Nobody writes in conversations with a number above this any more.
LIVELY = 40
SAID = ("see you at nine", "who has the keys?", "lunch?", "done", "have a look at this", "not before Monday")
#: The queries of the declarations: also what the application sends.
DECLARED = tomllib.loads((HERE / "trueup.toml").read_text(encoding="utf-8"))["projections"]
#: Read model -> its columns, the key first.
COLUMNS = {name: (*p["key"], *p["columns"], "deleted") for name, p in DECLARED.items()}

#: One event: the read model, and the whole row as it is now, with the version of that.
Event = tuple[str, tuple[Any, ...]]


class Chat:
    """Each change raises the version of all entries that show it, in its own transaction."""

    def __init__(self, app: str, inbox: str) -> None:
        self.db, self.inbox = Database(app), Database(inbox)
        #: Writes so far, and events that are on their way: each arrives with one of the next writes.
        self.writes = 0
        self.queue: list[tuple[int, Event]] = []

    def make(self, chance: random.Random) -> None:
        self.db.script((HERE / "app.sql").read_text())
        self.inbox.script((HERE / "inbox.sql").read_text())
        for conversation in range(1, CONVERSATIONS + 1):
            users = chance.sample(range(1, USERS + 1), IN_EACH)
            self.db.many(
                "INSERT INTO members (conversation_id, user_id) VALUES (?, ?)", [(conversation, u) for u in users]
            )
            for _ in range(chance.randint(1, 6)):
                for event in self.send(chance, conversation):
                    self.deliver(event)

    # --- what users do ---------------------------------------------------------------------------------------------

    def write(self, chance: random.Random) -> None:
        """Somebody does something in a lively conversation; some events arrive."""
        conversation = chance.randint(1, LIVELY)
        if chance.random() < 0.6:
            self.sent(chance, self.send(chance, conversation))
        else:
            user = self.somebody(chance, conversation)
            last = self.db.one("SELECT max(id) FROM messages WHERE conversation_id = ?", conversation)
            change = "muted = NOT muted" if chance.random() < 0.2 else f"last_read_id = {last}"
            self.sent(chance, self.change(change, conversation, user))
        self.writes += 1
        arriving = [event for at, event in self.queue if at <= self.writes]
        self.queue = [(at, event) for at, event in self.queue if at > self.writes]
        for event in chance.sample(arriving, len(arriving)):
            self.deliver(event)
            if chance.random() < 0.1:
                self.deliver(event)

    def somebody(self, chance: random.Random, conversation: int) -> int:
        members = self.db.run("SELECT user_id FROM members WHERE conversation_id = ? ORDER BY 1", conversation)
        return int(chance.choice(members)[0])

    def send(self, chance: random.Random, conversation: int) -> list[Event]:
        sender = self.somebody(chance, conversation)
        with transaction(self.db):
            self.db.run("UPDATE ids SET last = last + 1")
            message, body = self.db.one("SELECT last FROM ids"), f"{chance.choice(SAID)}, says {sender}"
            self.db.run("UPDATE members SET version = version + 1 WHERE conversation_id = ?", conversation)
            self.db.run("INSERT INTO messages VALUES (?, ?, ?, ?)", message, conversation, sender, body)
            return self.events(conversation)

    def change(self, change: str, conversation: int, user: int) -> list[Event]:
        with transaction(self.db):
            self.db.run(
                f"UPDATE members SET {change}, version = version + 1 WHERE conversation_id = ? AND user_id = ?",
                *(conversation, user),
            )
            return self.events(conversation, user)

    def events(self, conversation: int, user: int | None = None) -> list[Event]:
        """What the read models should show of a conversation, read in the transaction that changed it."""
        return [(name, row) for name in COLUMNS for row in self.rows(name, conversation, user)]

    def rows(self, name: str, conversation: int | None = None, user: int | None = None) -> list[tuple[Any, ...]]:
        query = f"SELECT {', '.join(COLUMNS[name])} FROM ({DECLARED[name]['source']['query']}) s WHERE true"
        asked = {"conversation_id": conversation, "user_id": user}
        given = {column: value for column, value in asked.items() if value is not None}
        return self.db.run(query + "".join(f" AND {column} = ?" for column in given), *given.values())

    def sent(self, chance: random.Random, events: Iterable[Event]) -> None:
        """Each on its way for no more than three writes, however long these take."""
        self.queue += [(self.writes + chance.randint(1, 3), event) for event in events]

    # --- the projector ---------------------------------------------------------------------------------------------

    def deliver(self, event: Event) -> None:
        """Written only over an older version: late and doubled events are harmless."""
        name, row = event
        columns = COLUMNS[name]
        values = ", ".join(f"{column} = excluded.{column}" for column in columns[2:])
        self.inbox.run(
            f"INSERT INTO {name} AS held ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
            f" ON CONFLICT (user_id, conversation_id) DO UPDATE SET {values} WHERE held.version < excluded.version",
            *row,
        )

    def deliver_all(self) -> None:
        while self.queue:
            self.deliver(self.queue.pop()[1])

    # --- the judge -------------------------------------------------------------------------------------------------

    def wrong(self) -> int:
        """Entries of both read models that are not what the source says; all events have arrived."""
        off = {name: set(shown(self.rows(name))) ^ set(shown(self.held(name))) for name in COLUMNS}
        return sum(len({row[:2] for row in rows}) for rows in off.values())

    def held(self, name: str) -> list[tuple[Any, ...]]:
        return self.inbox.run(f"SELECT {', '.join(COLUMNS[name])} FROM {name}")

    def close(self) -> None:
        self.deliver_all()
        self.db.close()
        self.inbox.close()


def shown(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Without what is deleted, and without the mark that says so."""
    return [row[:-1] for row in rows if not row[-1]]
