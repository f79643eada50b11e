"""An inbox and the state of notifications, in another database, filled by events that may be lost."""

from __future__ import annotations

import random
from contextlib import closing

from examples._kit import Faults, Stage, Traffic, example
from examples.inbox.chat import COLUMNS, CONVERSATIONS, LIVELY, Chat, Event


class Mistakes:
    """Each in a quiet conversation of its own: no later event puts it right."""

    def __init__(self, chat: Chat, chance: random.Random) -> None:
        self.chat, self.chance = chat, chance
        self.quiet = list(range(LIVELY + 1, CONVERSATIONS + 1))
        self.faults = {name: Faults() for name in COLUMNS}

    def lose(self, what: str, events: list[Event], *names: str) -> None:
        """These events do not arrive; those for the other read model do."""
        for name, row in events:
            if name in names:
                self.faults[name].note(what, *row[:2])
            else:
                self.chat.deliver((name, row))

    def make(self) -> None:
        chat, both = self.chat, tuple(COLUMNS)
        for _ in range(2):
            self.lose("message not announced", chat.send(self.chance, self.quiet.pop()), "inbox", "notifications")
        for _ in range(2):
            conversation = self.quiet.pop()
            user = self.chat.somebody(self.chance, conversation)
            self.lose("mute not heard of", chat.change("muted = true", conversation, user), *both)
        for _ in range(2):
            conversation = self.quiet.pop()
            user = chat.somebody(self.chance, conversation)
            self.lose("left, and still in the list", chat.change("has_left = true", conversation, user), *both)
        for _ in range(3):
            conversation = self.quiet.pop()
            user = chat.somebody(self.chance, conversation)
            chat.inbox.run("DELETE FROM inbox WHERE user_id = ? AND conversation_id = ?", user, conversation)
            self.faults["inbox"].note("conversation not in the list", user, conversation)
        for _ in range(2):
            conversation = self.quiet.pop()
            user = chat.somebody(self.chance, conversation)
            chat.inbox.run(
                "UPDATE inbox SET preview = 'hello!' WHERE user_id = ? AND conversation_id = ?", user, conversation
            )
            self.faults["inbox"].note("preview of another conversation", user, conversation)


def play(stage: Stage) -> None:
    with closing(Chat(stage.url("app"), stage.url("inbox"))) as chat:
        chat.make(stage.chance)
        with Traffic(lambda: Chat(stage.url("app"), stage.url("inbox")), seed=stage.seed) as traffic:
            if stage.naive:
                naive(stage, chat, traffic)
            else:
                mistakes = Mistakes(chat, stage.chance)
                mistakes.make()
                repair(stage, mistakes, traffic)
        if not stage.naive:
            stage.say("The application rests, and its last events have arrived.")
            stage.trueup("check", code=0)
        stage.end(chat.wrong(), traffic.writes)


def repair(stage: Stage, mistakes: Mistakes, traffic: Traffic) -> None:
    for name in COLUMNS:
        stage.say(f"What is wrong in {name}?")
        stage.trueup("check", name, code=1)
        stage.score(stage.found(name), mistakes.faults[name])
    stage.say("Both are repaired.")
    stage.trueup("run", code=0)
    traffic.wait(50)


def naive(stage: Stage, chat: Chat, traffic: Traffic) -> None:
    """Read everything, write everything: what was newer by then is lost until the next message."""
    stage.say("The read models are filled again from the source, while events go on arriving:")
    rows = chat.rows("inbox")
    traffic.wait(50)
    chat.inbox.run("DELETE FROM inbox")
    chat.inbox.many(
        f"INSERT INTO inbox ({', '.join(COLUMNS['inbox'])}) VALUES ({', '.join('?' * 6)}) ON CONFLICT DO NOTHING", rows
    )


if __name__ == "__main__":
    example(play, __file__)
