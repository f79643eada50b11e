"""Views of pages, counted in SQL: in shards with the view, and in totals by a job."""

from __future__ import annotations

import random
from pathlib import Path

from examples._kit import Database, Faults, Traffic, transaction

HERE = Path(__file__).parent
#: Pages above `LIVELY` are not read for now.
PAGES, LIVELY, SHARDS = 80, 50, 4
#: Pages up to this are read all the time.
HOT = 15
#: Projection -> the judge: rows that are not the number of their views.
WRONG = {
    "page_shards": """
SELECT count(*) FROM (SELECT page_id, shard FROM views UNION SELECT page_id, shard FROM page_shards) k
WHERE coalesce((SELECT n FROM page_shards s WHERE s.page_id = k.page_id AND s.shard = k.shard), 0)
  <> (SELECT count(*) FROM views v WHERE v.page_id = k.page_id AND v.shard = k.shard)""",
    "page_totals": """
SELECT count(*) FROM (SELECT page_id FROM views UNION SELECT page_id FROM page_totals) k
WHERE coalesce((SELECT n FROM page_totals t WHERE t.page_id = k.page_id), 0)
  <> (SELECT count(*) FROM views v WHERE v.page_id = k.page_id)""",
}


class Shards:
    """A view goes into one of the shards of its page; a job sums up the shards of the pages that were viewed."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        #: Of this connection; the job runs after every third.
        self.writes = 0

    def make(self) -> None:
        self.db.script((HERE / "schema.sql").read_text())
        seen = [(page, n % SHARDS) for page in range(1, PAGES + 1) for n in range(20 + page % 9)]
        self.db.many("INSERT INTO views (page_id, shard) VALUES (?, ?)", seen)
        self.db.run("INSERT INTO page_shards SELECT page_id, shard, count(*) FROM views GROUP BY page_id, shard")
        self.db.run("INSERT INTO page_totals SELECT page_id, sum(n) FROM page_shards GROUP BY page_id")

    def write(self, chance: random.Random) -> None:
        """Somebody reads a page. Some pages are hot. The job runs now and then."""
        self.view(min(chance.randint(1, LIVELY), chance.randint(1, LIVELY)), chance.randrange(SHARDS))
        self.writes += 1
        if self.writes % 3 == 0:
            self.sum_up()

    def view(self, page: int, shard: int, *, times: int = 1) -> None:
        """`times`: how often the shard is incremented; once, unless something goes wrong."""
        with transaction(self.db):
            self.db.run("INSERT INTO views (page_id, shard) VALUES (?, ?)", page, shard)
            self.db.run(
                "INSERT INTO page_shards VALUES (?, ?, ?)"
                " ON CONFLICT (page_id, shard) DO UPDATE SET n = page_shards.n + excluded.n",
                *(page, shard, times),
            )
            # Not DO NOTHING: the row has to be locked, or a job that is at it takes it away without this view.
            self.db.run(
                "INSERT INTO totals_due VALUES (?) ON CONFLICT (page_id) DO UPDATE SET page_id = excluded.page_id", page
            )

    def sum_up(self) -> None:
        """The job. It takes the pages first: one that is viewed after that is due again."""
        with transaction(self.db):
            due = [page for (page,) in self.db.run("DELETE FROM totals_due RETURNING page_id")]
            if due:
                self.db.run(
                    "INSERT INTO page_totals SELECT page_id, sum(n) FROM page_shards"
                    f" WHERE page_id IN ({', '.join('?' * len(due))}) GROUP BY page_id"
                    " ON CONFLICT (page_id) DO UPDATE SET n = excluded.n",
                    *due,
                )

    def spoil(self, chance: random.Random) -> dict[str, Faults]:
        """Shards go wrong on hot pages too: once these are repaired, the job puts their totals right by itself.

        What is wrong in a shard of a quiet page was summed up into its total, and stays there.
        """
        faults = {name: Faults() for name in WRONG}
        shards, totals = faults.values()
        quiet = chance.sample(range(LIVELY + 1, PAGES + 1), 8)
        for page, times, what in (
            *((page, 0, "increment lost in a crash") for page in quiet[:2]),
            *((page, 2, "increment applied twice by a retry") for page in quiet[2:5]),
        ):
            shard = chance.randrange(SHARDS)
            self.view(page, shard, times=times)
            shards.note(what, page, shard)
            totals.note("summed up from a wrong shard", page)
        self.sum_up()
        for page in chance.sample(range(1, HOT + 1), 3):
            shard = chance.randrange(SHARDS)
            self.db.run("UPDATE page_shards SET n = n - 5 WHERE page_id = ? AND shard = ?", page, shard)
            shards.note("set to an old value by a restore", page, shard)
        for page in quiet[5:]:
            self.db.run("DELETE FROM page_totals WHERE page_id = ?", page)
            totals.note("total lost", page)
        return faults

    def go_on(self) -> None:
        """Every page is read again."""
        for page in range(1, PAGES + 1):
            self.view(page, page % SHARDS)
        self.sum_up()

    def recount(self, traffic: Traffic) -> None:
        """The naive way: count, then set. Whoever reads a page in between is forgotten."""
        counts = self.db.run("SELECT count(*), page_id, shard FROM views GROUP BY page_id, shard")
        traffic.wait(20)
        self.db.many("UPDATE page_shards SET n = ? WHERE page_id = ? AND shard = ?", counts)
        self.db.run("INSERT INTO totals_due SELECT DISTINCT page_id FROM views WHERE true ON CONFLICT DO NOTHING")

    def wrong(self) -> int:
        return sum(self.db.one(sql) for sql in WRONG.values())

    def close(self) -> None:
        self.sum_up()
        self.db.close()
