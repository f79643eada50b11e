"""Like counts from like edges: triggers with a bug, a repair by key for the support desk, and one of everything."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path

from examples._kit import Database, Faults, Stage, Traffic, example, transaction

HERE = Path(__file__).parent
#: Posts that people like; and older ones, which nobody looks at any more.
POSTS, ARCHIVED, USERS = 400, 40, 60
#: The judge: posts whose number is not the number of their likes.
WRONG = """
SELECT count(*) FROM (SELECT post_id FROM likes UNION SELECT post_id FROM post_like_counts) p
WHERE coalesce((SELECT likes FROM post_like_counts c WHERE c.post_id = p.post_id), 0)
  <> (SELECT count(*) FROM likes l WHERE l.post_id = p.post_id AND l.active)"""


class Shop:
    """The application. Its triggers count; nothing else does."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)

    def make(self) -> None:
        kind = "sqlite" if self.db.is_sqlite else "postgresql"
        self.db.script((HERE / "schema.sql").read_text())
        self.db.script((HERE / f"triggers.{kind}.sql").read_text())
        likes = [(post, user, user % 7 > 0) for post in range(1, POSTS + ARCHIVED) for user in range(post % 40)]
        self.db.many("INSERT INTO likes VALUES (?, ?, ?)", likes)

    def mend(self) -> None:
        """The bug is found, and the trigger repaired. What it did stays done."""
        kind = "sqlite" if self.db.is_sqlite else "postgresql"
        self.db.script((HERE / f"mend.{kind}.sql").read_text())

    def write(self, chance: random.Random) -> None:
        """Somebody likes a post, or thinks better of it. Some posts are hot."""
        post, user = min(chance.randint(1, POSTS), chance.randint(1, POSTS)), chance.randrange(USERS)
        self.db.run(
            "INSERT INTO likes VALUES (?, ?, true)"
            " ON CONFLICT (post_id, user_id) DO UPDATE SET active = NOT likes.active",
            post,
            user,
        )

    def purge(self, post: int) -> None:
        """The nightly job throws away a like that was taken back."""
        with transaction(self.db):
            user = self.db.one("SELECT min(user_id) FROM likes WHERE post_id = ? AND NOT active", post)
            self.db.run("DELETE FROM likes WHERE post_id = ? AND user_id = ?", post, user)

    def close(self) -> None:
        self.db.close()


def spoil(shop: Shop, faults: Faults, chance: random.Random) -> None:
    """The bug at work, and what people and backups do."""
    for post in [42, *chance.sample([n for n in range(50, POSTS) if n % 40 > 1], 5)]:
        shop.purge(post)
        faults.note("trigger counted down twice", post)
    for post in chance.sample(range(1, 40), 2):
        shop.db.run("UPDATE post_like_counts SET likes = likes + 1000 WHERE post_id = ?", post)
        faults.note("number set by hand", post)
    for post in chance.sample(range(POSTS + 1, POSTS + ARCHIVED), 2):
        shop.db.run("DELETE FROM post_like_counts WHERE post_id = ?", post)
        faults.note("row lost in a restore", post)
    ghost = POSTS + ARCHIVED
    shop.db.run("INSERT INTO post_like_counts VALUES (?, 3)", ghost)
    faults.note("number of a post that nobody likes", ghost)


def play(stage: Stage) -> None:
    with closing(Shop(stage.url())) as shop:
        shop.make()
        with Traffic(lambda: Shop(stage.url()), seed=stage.seed) as traffic:
            spoil(shop, stage.faults, stage.chance)
            shop.mend()
            if stage.naive:
                naive(stage, shop, traffic)
            else:
                repair(stage, traffic)
        stage.end(shop.db.one(WRONG), traffic.writes)


def repair(stage: Stage, traffic: Traffic) -> None:
    stage.say("What is wrong?")
    stage.trueup("check", "post_like_counts", code=1)
    stage.score(stage.found("post_like_counts"))

    stage.say("A user complains about post 42: the support desk repairs it, and nothing else.")
    stage.trueup("run", "post_like_counts", "--key", "post_id=42", code=0)

    stage.say("All the others.")
    stage.trueup("run", "post_like_counts", code=0)
    traffic.wait(100)
    stage.trueup("check", "post_like_counts", code=0)


def naive(stage: Stage, shop: Shop, traffic: Traffic) -> None:
    """Count, then set: whoever likes the post in between is forgotten."""
    stage.say("Count, then set, post after post, while people go on liking:")
    counts = shop.db.run("SELECT post_id, count(*) FROM likes WHERE active GROUP BY post_id")
    traffic.wait(20)
    shop.db.many("UPDATE post_like_counts SET likes = ? WHERE post_id = ?", [(n, post) for post, n in counts])
    shop.db.run("DELETE FROM post_like_counts WHERE post_id NOT IN (SELECT post_id FROM likes)")


if __name__ == "__main__":
    example(play, __file__)
