"""Documents repaired while an application writes them; what naive repairs do in the same moments.

The server speaks OpenSearch's protocol (the wheel osmem-server). The source is SQLite: its writes are visible at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import ConflictError, OpenSearch

from tests.live.beside import Beside, meanwhile
from tests.live.harness import around
from trueup import Side
from trueup.adapters._opensearch_unit import OpensearchUnit
from trueup.adapters.opensearch import OpensearchAdapter
from trueup.core.findings import State
from trueup.core.guarantee import Guarantee
from trueup.core.states import Outcome, Verdict
from trueup.errors import DesignProblem, Refused, SchemaChanged

MAPPING = {"properties": {"n": {"type": "long"}, "title": {"type": "text"}}}


class Search(Beside):
    """Posts in SQLite, and as documents with a title that nobody compares."""

    projection = "posts"
    name = "search"
    place = {"index": "posts", "id": "{post}"}  # noqa: RUF012

    def __init__(self, folder: Path, url: str, *, fresh: bool = True) -> None:
        super().__init__(folder, url, fresh=fresh)
        self.client = OpenSearch(url.replace("opensearch://", "http://"))
        if fresh:
            self.client.indices.create(index="posts", body={"mappings": MAPPING})

    def deliver(self, post: int, n: int | None, **how: Any) -> None:
        if n is None:
            self.client.delete(index="posts", id=str(post), **how)
        else:
            self.client.index(index="posts", id=str(post), body={"n": n, "title": f"post {post}"}, **how)

    def document(self, post: int) -> dict[str, Any] | None:
        found = self.client.get(index="posts", id=str(post), ignore=404)
        return found["_source"] if found["found"] else None

    def held(self, post: int) -> int | None:
        document = self.document(post)
        return None if document is None else document["n"]


@pytest.fixture
def search(opensearch: str, tmp_path: Path) -> Iterator[Search]:
    made = Search(tmp_path, opensearch)
    yield made
    made.client.close()


@pytest.fixture
def wrong(search: Search) -> Search:
    """Post 1 has 5 likes, and 3 in its document."""
    search.source(1, 5)
    search.deliver(1, 3)
    return search


# --- naive repairs are seen to fail ----------------------------------------------------------------------------------


def test_control_an_index_without_condition_overwrites_newer_state(wrong: Search) -> None:
    expected = wrong.state()[0]
    wrong.write(1, 7)
    wrong.deliver(1, expected)
    assert wrong.state() == (7, 5)


def test_control_the_source_first_and_the_number_second_overwrites_newer_state(wrong: Search) -> None:
    expected = wrong.state()[0]
    wrong.write(1, 7)
    token = wrong.client.get(index="posts", id="1")
    wrong.deliver(1, expected, if_seq_no=token["_seq_no"], if_primary_term=token["_primary_term"])
    assert wrong.state() == (7, 5)


def test_control_a_late_message_brings_a_deleted_document_back_and_with_a_version_it_does_not(search: Search) -> None:
    search.deliver(1, 5)
    search.deliver(1, None)
    search.deliver(1, 5)  # late
    assert search.document(1)
    search.deliver(2, 5, version=5, version_type="external")
    search.deliver(2, None, version=6, version_type="external")
    with pytest.raises(ConflictError):
        search.deliver(2, 5, version=5, version_type="external")
    assert search.document(2) is None


# --- ours: documents and numbers, then the source, then the writing ---------------------------------------------------


def test_a_delivery_in_between_is_not_overwritten(wrong: Search) -> None:
    with meanwhile(lambda: wrong.write(1, 7)):
        verdict, outcomes = wrong.run()
    assert wrong.state() == (7, 7)
    assert (verdict, outcomes) == (Verdict.REPAIRED, {1: Outcome.SUPERSEDED})


def test_a_value_that_comes_back_is_seen_to_have_been_written(wrong: Search) -> None:
    with meanwhile(lambda: wrong.write(1, 7), lambda: wrong.write(1, 3)):
        _, outcomes = wrong.run()
    assert wrong.state() == (3, 3)
    assert outcomes == {1: Outcome.SUPERSEDED}


def test_a_source_commit_that_is_not_delivered_yet_is_in_what_we_write(wrong: Search) -> None:
    with around(OpensearchUnit, "read", after=lambda: wrong.source(1, 9)):
        _, outcomes = wrong.run()
    assert wrong.state() == (9, 9)
    assert outcomes == {1: Outcome.APPLIED}


def test_fields_that_are_not_compared_stay(wrong: Search) -> None:
    wrong.run()
    assert wrong.document(1) == {"n": 5, "title": "post 1"}


def test_one_hot_document_does_not_keep_the_others_from_being_written(search: Search) -> None:
    for post in range(1, 41):
        search.source(post, 5)
        search.deliver(post, 3)
    with meanwhile(lambda: search.write(7, 8)):
        verdict, outcomes = search.run()
    assert verdict is Verdict.REPAIRED
    assert outcomes.pop(7) is Outcome.SUPERSEDED
    assert set(outcomes.values()) == {Outcome.APPLIED}
    assert {search.state(post) for post in range(1, 41)} == {(5, 5), (8, 8)}


def test_a_document_that_never_rests_is_left_and_said_so(wrong: Search) -> None:
    values = iter(range(100, 200))
    original = OpensearchUnit.write

    def restless(self: OpensearchUnit, rows: Any) -> Any:
        wrong.deliver(1, next(values))
        return original(self, rows)

    OpensearchUnit.write = restless  # type: ignore[method-assign]
    try:
        _, outcomes = wrong.run()
    finally:
        OpensearchUnit.write = original  # type: ignore[method-assign]
    assert outcomes == {1: Outcome.NOT_APPLIED}
    assert wrong.state()[1] in range(100, 200)


def test_a_missing_document_that_is_delivered_meanwhile_stays(search: Search) -> None:
    search.source(1, 5)
    with meanwhile(lambda: search.write(1, 7)):
        search.run()
    assert search.state() == (7, 7)


def test_a_missing_document_whose_source_goes_away_is_not_left_behind(search: Search) -> None:
    search.source(1, 5)
    with meanwhile(lambda: search.source(1, None)):
        search.run()
    assert search.state() == (None, None)


def test_an_extra_document_that_gets_a_source_meanwhile_is_not_deleted(search: Search) -> None:
    search.write(2, 2)
    search.deliver(1, 5)
    with meanwhile(lambda: search.write(1, 6)):
        search.run()
    assert search.state() == (6, 6)


def test_a_repair_that_arrives_after_its_run_was_over_is_refused(wrong: Search) -> None:
    """The request of a client that is gone: the server gets it when the document has moved on."""
    late: list[Any] = []
    original = OpensearchUnit.write

    def held_up(self: OpensearchUnit, rows: Any) -> Any:
        late.append((self, rows))
        raise KeyboardInterrupt

    OpensearchUnit.write = held_up  # type: ignore[method-assign]
    try:
        with pytest.raises(KeyboardInterrupt):
            wrong.run()
    finally:
        OpensearchUnit.write = original  # type: ignore[method-assign]
    wrong.write(1, 8)
    ((unit, rows),) = late
    assert [row.outcome for row in unit.write(rows)] == [Outcome.CAS_LOST]
    assert wrong.state() == (8, 8)


def test_increments_are_never_written_over(wrong: Search) -> None:
    with closing(wrong.engine(writers="increments")) as engine, pytest.raises(Refused, match="REPORT-ONLY"):
        engine.run("posts")
    assert wrong.state() == (5, 3)


# --- versions that the source issues ----------------------------------------------------------------------------------

BY_VERSION: dict[str, Any] = {
    "target": Side(database="search", index="posts", id="{post}", columns={"v": "_version"}),
    "writers": "versioned",
    "version": "v",
    "columns": ["n", "title", "v"],
}


@pytest.fixture
def versioned(search: Search) -> Search:
    """Posts 1 to 3, by versions: the second is a version behind, and the third has other contents in its version."""
    search.db.sql("ALTER TABLE posts ADD COLUMN title TEXT", "ALTER TABLE posts ADD COLUMN v BIGINT")
    for post, held, v in ((1, 5, 7), (2, 3, 6), (3, 3, 7)):
        search.source(post, 5)
        search.db.sql(f"UPDATE posts SET v = 7, title = 'post {post}' WHERE post = {post}")
        search.deliver(post, held, version=v, version_type="external")
    return search


def version(search: Search, post: int) -> int:
    return int(search.client.get(index="posts", id=str(post))["_version"])


def test_versions_are_kept_as_the_source_issues_them(versioned: Search) -> None:
    versioned.deliver(4, 1, version=3, version_type="external")  # its source is gone
    verdict, outcomes = versioned.run(**BY_VERSION)
    assert (verdict, set(outcomes)) == (Verdict.REPAIRED, {2, 3, 4})
    assert [versioned.state(post) for post in (1, 2, 3, 4)] == [(5, 5), (5, 5), (5, 5), (None, None)]
    assert [version(versioned, post) for post in (1, 2, 3)] == [7, 7, 7]
    for post, late in ((2, 6), (4, 3)):  # late messages, which were sent before the repair
        with pytest.raises(ConflictError):
            versioned.deliver(post, 1, version=late, version_type="external")
    versioned.deliver(2, 8, version=8, version_type="external")  # the next message is not refused


def test_a_rollback_by_versions_is_refused_for_none_goes_back(versioned: Search) -> None:
    with closing(versioned.engine(**BY_VERSION)) as engine:
        report = engine.run("posts")
        with pytest.raises(Refused, match="takes no older one"):
            engine.rollback(report.run)
    assert versioned.state(2) == (5, 5)


def test_control_a_repair_by_number_makes_the_next_message_be_refused(versioned: Search) -> None:
    token = versioned.client.get(index="posts", id="2")
    versioned.deliver(2, 5, if_seq_no=token["_seq_no"], if_primary_term=token["_primary_term"])
    with pytest.raises(ConflictError):
        versioned.deliver(2, 5, version=7, version_type="external")


def test_a_newer_version_in_between_is_not_overwritten(versioned: Search) -> None:
    newer = lambda: versioned.deliver(2, 9, version=9, version_type="external")  # noqa: E731
    with meanwhile(newer):
        _, outcomes = versioned.run(**BY_VERSION)
    assert versioned.document(2) == {"n": 9, "title": "post 2"}
    assert outcomes[2] is Outcome.CAS_LOST


def test_a_document_that_would_lose_fields_is_not_written_by_version(versioned: Search) -> None:
    with pytest.raises(DesignProblem, match="title would be lost"):
        versioned.run(**BY_VERSION | {"columns": ["n", "v"]})
    with pytest.raises(DesignProblem, match="only versions are compared"):
        versioned.run(**BY_VERSION | {"columns": ["v"]})
    with pytest.raises(DesignProblem, match="declare it as `version`"):
        versioned.run(**BY_VERSION | {"version": ""})
    assert versioned.state(2) == (5, 3)


# --- stop, and the index itself ---------------------------------------------------------------------------------------


def test_stop_is_looked_at_before_each_unit(wrong: Search) -> None:
    def stop() -> None:
        with closing(wrong.engine()) as other:
            other.stop("posts", reason="test")

    with around(OpensearchAdapter, "raise_fence", after=stop), pytest.raises(Refused, match="stopped"):
        wrong.run()
    assert wrong.state() == (5, 3)


def test_an_index_that_another_took_the_place_of_is_not_written(wrong: Search) -> None:
    def replace() -> None:
        wrong.client.indices.delete(index="posts")
        wrong.client.indices.create(index="posts", body={"mappings": MAPPING})

    with around(OpensearchAdapter, "unit", before=replace), pytest.raises(SchemaChanged, match="was index 'posts'"):
        wrong.run()
    assert wrong.document(1) is None


@pytest.mark.parametrize("step", ["raise_fence", "unit"])
def test_an_alias_that_is_moved_is_not_followed(wrong: Search, step: str) -> None:
    client = wrong.client
    client.indices.create(index="next", body={"mappings": MAPPING})
    client.indices.put_alias(index="posts", name="current")
    moved = [{"remove": {"index": "posts", "alias": "current"}}, {"add": {"index": "next", "alias": "current"}}]
    side = Side(database="search", index="current", id="{post}")

    def move() -> None:
        client.indices.update_aliases(body={"actions": moved})

    with around(OpensearchAdapter, step, before=move), pytest.raises(SchemaChanged, match="is index 'next'"):
        wrong.run(target=side)
    assert wrong.state() == (5, 3)
    assert client.count(index="next")["count"] == 0


def test_the_guarantee_is_exact_and_says_what_it_lacks(wrong: Search) -> None:
    with closing(wrong.engine()) as engine:
        told = engine.explain("posts")
    assert told.promise.guarantee is Guarantee.EXACT
    reasons = " ".join(told.route.reasons)
    assert "a stop is looked at before each unit" in reasons
    assert "remembered for 60s (index.gc_deletes)" in reasons


def test_how_long_deletes_are_remembered_is_examined(wrong: Search) -> None:
    def found() -> tuple[str, State, str]:
        with closing(wrong.engine()) as engine:
            binding = engine.binding("posts", writing=True)
            examiner = engine._adapter("search").examiner
            (finding,) = examiner.sides(binding, ["target"])
            return examiner.server().version, finding.state, finding.seen

    assert found() == ("opensearch 3.8.0", State.WARN, "index.gc_deletes is 60s")
    wrong.client.indices.put_settings(index="posts", body={"index": {"gc_deletes": "1h"}})
    assert found()[1:] == (State.OK, "index.gc_deletes is 1h")
