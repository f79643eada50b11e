"""Unread counts of users and conversations, from messages and read cursors of which many are NULL."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

import trueup
from examples._kit import Database, Faults, Key, Stage, Traffic, example, transaction

HERE = Path(__file__).parent
CONVERSATIONS, USERS, IN_EACH = 60, 40, 6
#: Users with a number above this are on holiday: messages reach them, and they read nothing.
AWAY = 30
#: What a member has not read, by the judge.
COUNTED = """
SELECT count(*) FROM messages x WHERE x.conversation_id = m.conversation_id AND x.sender_id <> m.user_id
AND (m.last_read_id IS NULL OR x.id > m.last_read_id)"""
WRONG = f"""
SELECT (SELECT count(*) FROM members m LEFT JOIN unread u USING (user_id, conversation_id)
        WHERE coalesce(u.unread, 0) <> ({COUNTED}))
     + (SELECT count(*) FROM unread u WHERE u.unread <> 0 AND NOT EXISTS (
          SELECT 1 FROM members m WHERE m.user_id = u.user_id AND m.conversation_id = u.conversation_id))"""


class Chat:
    """The application: everything that changes a message or a cursor changes the badge in the same transaction."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)

    def make(self, chance: random.Random) -> None:
        self.db.script((HERE / "schema.sql").read_text())
        self.db.script((HERE / f"triggers.{'sqlite' if self.db.is_sqlite else 'postgresql'}.sql").read_text())
        members = [
            (conversation, user)
            for conversation in range(1, CONVERSATIONS + 1)
            for user in sorted(chance.sample(range(1, USERS + 1), IN_EACH))
        ]
        self.db.many("INSERT INTO members VALUES (?, ?, NULL)", members)
        self.db.many("INSERT INTO unread VALUES (?, ?, 0)", [(user, conversation) for conversation, user in members])
        for _ in range(300):
            self.send(chance)

    def write(self, chance: random.Random) -> None:
        """Somebody sends a message, or opens a conversation."""
        (self.send if chance.random() < 0.5 else self.read)(chance)

    def send(self, chance: random.Random) -> None:
        conversation = chance.randint(1, CONVERSATIONS)
        with transaction(self.db):
            sender = chance.choice(self.db.run("SELECT user_id FROM members WHERE conversation_id = ?", conversation))[
                0
            ]
            message = 1 + (self.db.one("SELECT max(id) FROM messages") or 0)
            self.db.run("INSERT INTO messages VALUES (?, ?, ?, 'hello')", message, conversation, sender)
            self.db.run(
                "UPDATE unread SET unread = unread + 1 WHERE conversation_id = ? AND user_id IN"
                " (SELECT user_id FROM members WHERE conversation_id = ? AND user_id <> ?)",
                *(conversation, conversation, sender),
            )

    def read(self, chance: random.Random) -> None:
        user = chance.randint(1, AWAY)
        mine = self.db.run("SELECT conversation_id FROM members WHERE user_id = ?", user)
        if mine:
            with transaction(self.db):
                self.seen(user, chance.choice(mine)[0], 0)

    def seen(self, user: int, conversation: int, behind: int) -> None:
        """The badge goes to 0. The cursor should be where the messages end: `behind` is the bug."""
        ids = self.db.run("SELECT id FROM messages WHERE conversation_id = ? ORDER BY id DESC", conversation)
        if len(ids) > behind:
            self.db.run(
                "UPDATE members SET last_read_id = ? WHERE user_id = ? AND conversation_id = ?",
                ids[behind][0],
                user,
                conversation,
            )
            self.db.run("UPDATE unread SET unread = 0 WHERE user_id = ? AND conversation_id = ?", user, conversation)

    def close(self) -> None:
        self.db.close()


class Mistakes:
    """Each in a badge of its own, of somebody who is away."""

    def __init__(self, chat: Chat, faults: Faults) -> None:
        self.chat, self.db, self.faults = chat, chat.db, faults
        #: Badges that can still be spoilt: unread messages of others are in the conversation.
        self.left = self.db.run(
            f"SELECT m.user_id, m.conversation_id FROM members m WHERE m.user_id > ? AND ({COUNTED}) > 2 ORDER BY 1, 2",
            AWAY,
        )

    def at(self, what: str) -> tuple[int, int]:
        user, conversation = self.left.pop()
        self.faults.note(what, user, conversation)
        return user, conversation

    def make_with_events(self, times: int) -> None:
        """Mistakes that come with a change of what a badge counts: somebody can hear of them."""
        for _ in range(times):  # the badge is gone, the message is not read: the client had not seen it yet
            user, conversation = self.at("message that came while the user was reading")
            with transaction(self.db):
                last = self.db.run(
                    "SELECT id, sender_id FROM messages WHERE conversation_id = ? ORDER BY id DESC LIMIT 3",
                    conversation,
                )
                behind = next((n for n, (_, sender) in enumerate(last) if sender != user), 0) + 1
                self.chat.seen(user, conversation, behind)
        for _ in range(times):  # a badge that never goes away
            user, conversation = self.at("left the conversation, the badge stayed")
            self.db.run("DELETE FROM members WHERE user_id = ? AND conversation_id = ?", user, conversation)

    def make(self) -> None:
        self.make_with_events(3)
        for _ in range(3):
            user, conversation = self.at("recounted by a job that took NULL for everything read")
            self.db.run("UPDATE unread SET unread = 0 WHERE user_id = ? AND conversation_id = ?", user, conversation)
        for _ in range(2):
            user, conversation = self.at("push handled twice")
            self.db.run(
                "UPDATE unread SET unread = unread + 1 WHERE user_id = ? AND conversation_id = ?", user, conversation
            )
        user, conversation = self.at("row lost")
        self.db.run("DELETE FROM unread WHERE user_id = ? AND conversation_id = ?", user, conversation)


def play(stage: Stage) -> None:
    with closing(Chat(stage.url())) as chat:
        chat.make(stage.chance)
        with Traffic(lambda: Chat(stage.url()), seed=stage.seed) as traffic:
            if stage.naive:
                naive(stage, chat, traffic)
            else:
                mistakes = Mistakes(chat, stage.faults)
                mistakes.make()
                repair(stage, traffic)
                hear(stage, mistakes, traffic)
        stage.end(chat.db.one(WRONG), traffic.writes)


def repair(stage: Stage, traffic: Traffic) -> None:
    stage.say("What is wrong?")
    stage.trueup("check", "unread", code=1)
    stage.score(stage.found("unread"))

    user, conversation = next(iter(stage.faults.happened))
    stage.say(f"User {user} says that a message was never announced.")
    stage.trueup("run", "unread", "--key", f"user_id={user},conversation_id={conversation}", code=0)

    stage.say("All the others.")
    stage.trueup("run", "unread", code=0)
    traffic.wait(100)
    stage.trueup("check", "unread", code=0)


def hear(stage: Stage, mistakes: Mistakes, traffic: Traffic) -> None:
    """A node that hears of changes: the badge of whoever is concerned is looked at, and right again in a moment."""
    stage.say("From now on a node listens. The same happens to four others.")
    heard = mistakes.faults = Faults()
    with trueup.load("trueup.toml") as app:
        before = {run.id for run in app.runs("unread")}
        with stage.serving():
            # It looks at all badges once: what was told before it listened has gone by.
            traffic.until(lambda: bool(ended(app, before, by_key=False)), rest_s=0.1)
            mistakes.make_with_events(2)
            traffic.until(lambda: heard.happened.keys() <= set(by_event(app, before)), rest_s=0.1)
        stage.score(by_event(app, before), heard)
    stage.trueup("check", "unread", code=0)


def ended(app: trueup.Trueup, before: set[str], *, by_key: bool) -> list[str]:
    """Runs that a node has finished: those for the keys of events, or those over all rows."""
    runs = [run for run in app.runs("unread", limit=10_000) if run.id not in before and run.state == "done"]
    return [run.id for run in runs if (run.keys is not None) is by_key]


def by_event(app: trueup.Trueup, before: set[str]) -> list[Key]:
    """Badges that were put right by runs that events asked for."""
    outcomes = (outcome for run in ended(app, before, by_key=True) for outcome in app.outcomes(run))
    return [outcome.key for outcome in outcomes if outcome.outcome == "applied"]


def naive(stage: Stage, chat: Chat, traffic: Traffic) -> None:
    """The recount as it is written first: `x.id > m.last_read_id` is not true where that is NULL."""
    stage.say("A nightly recount, with `x.id > m.last_read_id`:")
    chat.db.run(
        "UPDATE unread SET unread = (SELECT count(*) FROM members m JOIN messages x"
        " ON x.conversation_id = m.conversation_id AND x.sender_id <> m.user_id AND x.id > m.last_read_id"
        " WHERE m.user_id = unread.user_id AND m.conversation_id = unread.conversation_id)"
    )
    traffic.wait(20)


if __name__ == "__main__":
    example(play, __file__)
