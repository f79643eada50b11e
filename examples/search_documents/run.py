"""A search index of articles, in another store, filled by an indexer that loses edits, deletions and order."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from examples._kit import Database, Faults, Stage, Traffic, example
from examples.search_documents.engines import Document, Engine, Fts5, Groonga, OpenSearch
from tests.searching import started_groonga, started_opensearch

#: Articles that people edit; and older ones, which nobody touches any more.
LIVELY, QUIET = 200, 200
SCHEMA = """
CREATE TABLE articles (
  article_id INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT NOT NULL, tags TEXT NOT NULL,
  deleted BOOLEAN NOT NULL DEFAULT false)"""
SUBJECTS = ("tomatoes", "bicycles", "violins", "glaciers", "lighthouses")
TAGS = ("beginners", "repair", "history", "travel")
#: What a search shows, by the articles alone. No word of this example is part of another one.
FOUND = "SELECT article_id FROM articles WHERE NOT deleted AND title || ' ' || body || ' ' || tags LIKE ?"


class Magazine:
    """The application, and the indexer that carries what was edited to the search engine: whole, a moment later."""

    def __init__(self, url: str, engine: Engine) -> None:
        self.db, self.engine = Database(url), engine
        #: Articles that the indexer has been told of, the oldest first.
        self.queue: list[int] = []

    def make(self, chance: random.Random) -> None:
        self.db.script(SCHEMA)
        self.engine.make()
        numbers = range(1, LIVELY + QUIET + 1)
        articles = [(n, f"All about {chance.choice(SUBJECTS)}", "First edition.", chance.choice(TAGS)) for n in numbers]
        self.db.many("INSERT INTO articles (article_id, title, body, tags) VALUES (?, ?, ?, ?)", articles)
        self.engine.put(articles)

    # --- what authors do -------------------------------------------------------------------------------------------

    def write(self, chance: random.Random) -> None:
        """Somebody writes, edits or deletes an article; the indexer gets to some of those that it was told of."""
        number, dice = chance.randint(1, LIVELY), chance.random()
        if dice < 0.1:
            number = self.db.one("SELECT max(article_id) + 1 FROM articles")
            self.db.run("INSERT INTO articles VALUES (?, 'Breaking news', 'First edition.', 'travel', false)", number)
        elif dice < 0.2:
            self.db.run("UPDATE articles SET deleted = NOT deleted WHERE article_id = ?", number)
        else:
            self.edit(number, chance.choice(SUBJECTS), chance.choice(TAGS))
        self.queue.append(number)
        while len(self.queue) > chance.randrange(8):
            self.index(self.queue.pop(0))

    def edit(self, number: int, subject: str, tags: str) -> None:
        self.db.run(
            "UPDATE articles SET title = ?, body = 'Revised.', tags = ? WHERE article_id = ?",
            *(f"More about {subject}", tags, number),
        )

    # --- the indexer -----------------------------------------------------------------------------------------------

    def index(self, number: int) -> None:
        """The document of an article as it is now, or none if there is no such article."""
        for document in self.documents(number):
            self.engine.put([document])
            return
        self.engine.drop(number)

    def documents(self, number: int | None = None) -> list[Document]:
        """What should be in the index: all of it, or one article of it."""
        query = "SELECT article_id, title, body, tags FROM articles WHERE NOT deleted"
        rows = self.db.run(query) if number is None else self.db.run(f"{query} AND article_id = ?", number)
        return [(n, title, body, tags) for n, title, body, tags in rows]

    # --- the judge -------------------------------------------------------------------------------------------------

    def wrong(self) -> int:
        """Documents that are not what the article says, and what a search shows or misses wrongly."""
        off = {document[0] for document in set(self.documents()) ^ self.engine.held()}
        for word in (*SUBJECTS, *TAGS):
            off |= self.found(word) ^ self.engine.find(word)
        return len(off)

    def found(self, word: str) -> set[int]:
        return {n for (n,) in self.db.run(FOUND, f"%{word}%")}

    def close(self) -> None:
        while self.queue:
            self.index(self.queue.pop(0))
        self.db.close()
        self.engine.close()


class Mistakes:
    """Each in a quiet article of its own: no later edit puts it right."""

    def __init__(self, magazine: Magazine, faults: Faults, chance: random.Random) -> None:
        self.magazine, self.faults = magazine, faults
        #: Documents that no search should show.
        self.ghosts: set[int] = set()
        self.quiet = chance.sample(range(LIVELY + 1, LIVELY + QUIET + 1), 15)

    def make(self) -> None:
        magazine, note = self.magazine, self.faults.note
        for number in self._take(5):
            magazine.edit(number, "submarines", "repair")
            note("edit that the indexer never heard of", number)
        for number in self._take(4):
            magazine.db.run("UPDATE articles SET title = 'Withdrawn', deleted = true WHERE article_id = ?", number)
            note("deleted, and search still finds it", number)
            self.ghosts.add(number)
        for number in self._take(2):
            magazine.engine.drop(number)
            note("never indexed", number)
        for number in self._take(2):  # an old indexer made up numbers of its own
            [document] = magazine.documents(number)
            double = number + 1_000_000
            magazine.engine.put([(double, *document[1:])])
            note("indexed a second time, under another id", double)
            self.ghosts.add(double)
        for number in self._take(2):
            old = magazine.documents(number)
            magazine.edit(number, "submarines", "history")
            magazine.index(number)
            magazine.engine.put(old)
            note("an old edition arrived after the new one", number)

    def _take(self, how_many: int) -> list[int]:
        return [self.quiet.pop() for _ in range(how_many)]


@contextmanager
def engine_of(stage: Stage) -> Iterator[Callable[[], Engine]]:
    """Gives connections to the engine; a server is started, and ends with the example."""
    if stage.variant == "groonga":
        (home := stage.folder / "groonga").mkdir()
        with started_groonga(home) as url:
            os.environ["GROONGA_URL"] = url
            yield lambda: Groonga(url)
    elif stage.variant == "opensearch":
        with started_opensearch() as url:
            os.environ["OPENSEARCH_URL"] = url
            yield lambda: OpenSearch(url)
    else:
        yield lambda: Fts5(stage.url("search"))


def play(stage: Stage) -> None:
    with engine_of(stage) as engine, closing(Magazine(stage.url(), engine())) as magazine:
        magazine.make(stage.chance)
        with Traffic(lambda: Magazine(stage.url(), engine()), seed=stage.seed) as traffic:
            if stage.naive:
                naive(stage, magazine, traffic)
            else:
                mistakes = Mistakes(magazine, stage.faults, stage.chance)
                mistakes.make()
                repair(stage, mistakes, traffic)
        if not stage.naive:
            stage.say("The authors rest, and the indexer has nothing left to do.")
            stage.trueup("check", "articles_in_search", code=0)
        stage.end(magazine.wrong(), traffic.writes)


def repair(stage: Stage, mistakes: Mistakes, traffic: Traffic) -> None:
    rewritten = mistakes.magazine.found("submarines")
    search = mistakes.magazine.engine.find
    stage.say(f"{len(rewritten)} articles are about submarines since they were revised. What does the search box show?")
    stage.promise("search finds none of them", not search("submarines"))
    stage.promise("search finds articles that are no more, and articles twice", mistakes.ghosts <= shown(search))

    stage.say("What is wrong?")
    stage.trueup("check", "articles_in_search", code=1)
    stage.score(stage.found("articles_in_search"))

    stage.say("These documents are repaired, and no other.")
    stage.trueup("run", "articles_in_search", code=0)
    stage.promise("search finds all that are about submarines", search("submarines") == rewritten)
    stage.promise("search finds nothing that is no more, and nothing twice", not mistakes.ghosts & shown(search))
    traffic.wait(50)


def shown(search: Callable[[str], set[int]]) -> set[int]:
    """Numbers of all documents that any search shows."""
    return {number for word in (*SUBJECTS, *TAGS) for number in search(word)}


def naive(stage: Stage, magazine: Magazine, traffic: Traffic) -> None:
    """Read everything, write everything: what was edited in between is overwritten by its older edition."""
    stage.say("Everything is indexed again, from what was read at the start, while authors go on editing:")
    documents = magazine.documents()
    traffic.wait(50)
    magazine.engine.put(documents)


if __name__ == "__main__":
    example(play, __file__, variants=("groonga", "opensearch"))
