"""Reads that look like an empty or a smaller index, lost answers, and clients that are killed.

A proxy before the server changes what it says. The index is the source here where nothing may be deleted: an answer
that is taken for an empty source takes every row of the target with it.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opensearchpy import OpenSearch

from tests.faults.between import Answer, Between, between
from tests.faults.children import children
from tests.live.harness import PATIENCE_S, WIDE, Db, QuickClock, around
from tests.live.test_opensearch import Search
from trueup import Projection, Side, Trueup
from trueup.adapters import opensearch as adapter
from trueup.adapters._opensearch_unit import OpensearchUnit
from trueup.core.states import Outcome, Verdict
from trueup.errors import (
    BrokenRead,
    ConfigError,
    ConnectionFailed,
    DesignProblem,
    SchemaChanged,
    Transient,
    TrueupError,
)
from trueup.store.ledger import Ledger

ROWS = 5
MAPPING = {"properties": {"n": {"type": "long"}}}
Change = Callable[[dict[str, Any]], Any]


class Index:
    """An index as the source of an SQLite table, the proxy before it."""

    def __init__(self, folder: Path, url: str, proxy: Between, through: str) -> None:
        self.proxy = proxy
        self.db = Db(f"sqlite:///{folder / 'app.db'}")
        self.db.sql("CREATE TABLE copy(id INTEGER PRIMARY KEY, n BIGINT)")
        self.client = OpenSearch(url.replace("opensearch://", "http://"))
        self.client.indices.create(index="rows", body={"mappings": MAPPING})
        for number in range(ROWS):
            self.client.index(index="rows", id=str(number), body={"n": number})
            self.db.sql(f"INSERT INTO copy VALUES ({number}, {number})")
        self.engine = Trueup(
            databases={"app": self.db.url, "search": through},
            projections=[
                Projection(
                    name="p",
                    source=Side(database="search", index="rows", id="{id}"),
                    target=Side(database="app", table="copy"),
                    key="id",
                    writers="absolute",
                    settle=0,
                    on_extra="delete",
                    limits=WIDE,
                )
            ],
            ledger=f"sqlite:///{folder / 'ledger.db'}",
            clock=QuickClock(),
        )

    def answers(self, path: str, change: Change) -> None:
        """What the server says under a path is changed."""

        def after(asked: str, status: int, body: bytes) -> Answer:
            if path not in asked:
                return status, body
            changed = change(json.loads(body))
            return changed if changed is None or isinstance(changed, tuple) else (status, json.dumps(changed).encode())

        self.proxy.after = after


@pytest.fixture
def index(opensearch: str, tmp_path: Path) -> Iterator[Index]:
    with between(opensearch) as (proxy, through):
        made = Index(tmp_path, opensearch, proxy, through)
        yield made
        made.engine.close()
        made.client.close()


def emptied(answer: dict[str, Any], **told: Any) -> dict[str, Any]:
    """No hits, and none said to be there."""
    return {**answer, "hits": {"hits": [], "total": {"value": 0, "relation": "eq"}}, **told}


def shards(answer: dict[str, Any], failed: int) -> dict[str, Any]:
    failures = [{"reason": {"type": "no_shard_available_action_exception", "reason": "gone"}}]
    return {**answer, "_shards": {"total": 1, "successful": 1 - failed, "failed": failed, "failures": failures}}


def hits(answer: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    found = answer["hits"]
    return {**answer, "hits": {**found, "hits": [change(hit) for hit in found["hits"]]}}


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda hit: {name: value for name, value in hit.items() if name != key}


#: What the server says, where; and what is made of it.
BROKEN: dict[str, tuple[str, Change, type[TrueupError]]] = {
    "a shard failed": ("/_search?", lambda a: shards(emptied(a), 1), BrokenRead),
    "no shard answered": ("/_search?", lambda a: emptied(a, _shards={"total": 0, "failed": 0}), BrokenRead),
    "nothing is said of shards": ("/_search?", lambda a: without("_shards")(emptied(a)), BrokenRead),
    "it ran out of time": ("/_search?", lambda a: emptied(a, timed_out=True), BrokenRead),
    "it ended early": ("/_search?", lambda a: emptied(a, terminated_early=True), BrokenRead),
    "200 with an error": ("/_search?", lambda a: {"error": {"type": "x", "reason": "y"}}, BrokenRead),
    "200 with nothing in it": ("/_search?", lambda a: {}, BrokenRead),
    "200 with a page of another program": ("/_search?", lambda a: (200, b"<html>welcome</html>"), BrokenRead),
    "200 cut in the middle": ("/_search?", lambda a: (200, json.dumps(a).encode()[:-40]), BrokenRead),
    "fewer hits than there are": ("/_search?", lambda a: {**a, "hits": {**a["hits"], "hits": []}}, BrokenRead),
    "one hit fewer than there are": (
        "/_search?",
        lambda a: {**a, "hits": {**a["hits"], "hits": a["hits"]["hits"][1:]}},
        BrokenRead,
    ),
    "a total that is a bound": (
        "/_search?",
        lambda a: {**a, "hits": {"hits": [], "total": {"value": 0, "relation": "gte"}}},
        BrokenRead,
    ),
    "no contents": ("/_search?", lambda a: hits(a, without("_source")), BrokenRead),
    "routed elsewhere": ("/_search?", lambda a: hits(a, lambda hit: {**hit, "_routing": "x"}), DesignProblem),
    "no index any more": ("/_search?", lambda a: (404, b'{"error":{"type":"index_not_found_exception"}}'), BrokenRead),
    "the point in time is gone": (
        "/_search?",
        lambda a: (404, b'{"error":{"type":"search_context_missing"}}'),
        BrokenRead,
    ),
    "overloaded": ("/_search?", lambda a: (429, b'{"error":{"type":"rejected_execution_exception"}}'), Transient),
    "no node": ("/_search?", lambda a: (503, b'{"error":{"type":"no_shard_available"}}'), Transient),
    "the connection breaks": ("/_search?", lambda a: None, Transient),
    "no rights any more": ("/_search?", lambda a: (403, b'{"error":{"type":"security_exception"}}'), ConnectionFailed),
    "not refreshed": ("/_refresh", lambda a: shards(a, 1), BrokenRead),
    "no point in time": ("/point_in_time", lambda a: shards(a, 1), BrokenRead),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_read_is_no_empty_index(index: Index, what: str) -> None:
    path, change, error = BROKEN[what]
    assert index.engine.check("p").verdict is Verdict.IN_SYNC
    index.answers(path, change)
    with pytest.raises(error):
        index.engine.run("p")
    assert len(index.db.sql("SELECT * FROM copy")) == ROWS


def test_control_the_plain_client_takes_a_failed_shard_for_an_empty_index(index: Index) -> None:
    index.answers("/_search", lambda a: shards(emptied(a), 1))
    with closing(OpenSearch(_url(index))) as naive:
        found = naive.search(index="rows", body={"query": {"match_all": {}}})
    kept = {int(hit["_id"]) for hit in found["hits"]["hits"]}
    extra = [row[0] for row in index.db.sql("SELECT id FROM copy") if row[0] not in kept]
    assert len(extra) == ROWS  # a naive repair deletes all of them


def _url(index: Index) -> str:
    return index.engine.databases["search"].url.get_secret_value().replace("opensearch://", "http://")


def test_a_page_that_is_delivered_twice_is_noticed(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "PAGE", 2)
    assert index.engine.check("p").verdict is Verdict.IN_SYNC
    first: list[Any] = []

    def again(answer: dict[str, Any]) -> dict[str, Any]:
        first.append(answer)
        return dict(first[0])

    index.answers("/_search?", again)
    with pytest.raises(BrokenRead, match="pages cannot be told apart"):
        index.engine.check("p")


def test_an_index_that_is_recreated_while_it_is_read_counts_for_nothing(index: Index) -> None:
    def recreate(answer: dict[str, Any]) -> dict[str, Any]:
        index.proxy.after = lambda path, status, body: (status, body)
        index.client.indices.delete(index="rows")
        index.client.indices.create(index="rows", body={"mappings": MAPPING})
        return answer

    index.answers("/_search?", recreate)
    with pytest.raises((BrokenRead, SchemaChanged)):
        index.engine.run("p")
    assert len(index.db.sql("SELECT * FROM copy")) == ROWS


def test_an_index_that_is_not_there_is_a_wrong_declaration(index: Index) -> None:
    index.client.indices.delete(index="rows")
    with pytest.raises(ConfigError, match="there is no index 'rows'"):
        index.engine.check("p")


def test_keys_that_are_looked_at_again_are_all_told_of(index: Index) -> None:
    index.db.sql("UPDATE copy SET n = 9 WHERE id = 1")
    index.answers("/_mget", lambda a: {"docs": []})
    with pytest.raises(BrokenRead, match="0 documents were told of 1"):
        index.engine.run("p")
    assert index.db.sql("SELECT n FROM copy WHERE id = 1") == [(9,)]


def test_a_server_that_is_gone_is_said_to_be(tmp_path: Path, opensearch: str) -> None:
    with between(opensearch) as (_, through):
        search = Search(tmp_path, opensearch)
    search.url = through
    with closing(search.engine()) as engine, pytest.raises(ConnectionFailed, match=r"databases\.search: it cannot be"):
        engine.check("posts")
    search.client.close()


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def search(opensearch: str, tmp_path: Path) -> Iterator[Search]:
    """Post 1 has 5 likes, and 3 in its document."""
    made = Search(tmp_path, opensearch)
    made.source(1, 5)
    made.deliver(1, 3)
    yield made
    made.client.close()


@pytest.fixture
def proxy(search: Search) -> Iterator[Between]:
    """Before the server, for the engine only."""
    with between(search.url) as (made, through):
        search.url = through
        yield made


def once(answer: Callable[[bytes], bytes | list[Answer]]) -> Callable[[str, str, bytes], bytes | list[Answer]]:
    """The first bulk request is answered so, the others by the server."""
    seen: list[str] = []

    def before(method: str, path: str, body: bytes) -> bytes | list[Answer]:
        if "/_bulk" not in path or seen:
            return body
        seen.append(path)
        return answer(body)

    return before


@pytest.mark.parametrize("status", [429, 503])
def test_an_item_that_the_server_has_no_time_for_is_tried_again(search: Search, proxy: Between, status: int) -> None:
    error = {"type": "rejected", "reason": "queue is full"}
    item = {"errors": True, "items": [{"index": {"_id": "1", "status": status, "error": error}}]}
    proxy.before = once(lambda body: [(200, json.dumps(item).encode())])
    assert search.run() == (Verdict.REPAIRED, {1: Outcome.APPLIED})
    assert search.state() == (5, 5)


def test_an_item_that_the_server_refuses_is_failed_and_the_others_are_written(search: Search) -> None:
    search.client.indices.put_mapping(index="posts", body={"properties": {"other": {"type": "byte"}}})
    search.source(1, 500)
    for post in (2, 3):
        search.source(post, 5)
    side = Side(database="search", index="posts", id="{post}", columns={"n": "other"})
    verdict, outcomes = search.run(target=side)
    assert verdict is not Verdict.REPAIRED
    assert outcomes == {1: Outcome.FAILED, 2: Outcome.APPLIED, 3: Outcome.APPLIED}


def test_an_answer_that_is_about_other_items_is_no_answer(search: Search, proxy: Between) -> None:
    proxy.before = once(lambda body: [(200, b'{"errors":false,"items":[]}')])
    with pytest.raises(BrokenRead, match="not about its items"):
        search.run()


def test_a_document_that_a_pipeline_changes_is_noticed(search: Search, proxy: Between) -> None:
    proxy.before = lambda method, path, body: body.replace(b'"n":5', b'"n":6') if "/_bulk" in path else body
    _, outcomes = search.run()
    assert outcomes == {1: Outcome.FAILED}
    assert search.state() == (5, 6)


@pytest.mark.parametrize("arrives", [True, False])
def test_a_lost_answer_to_a_bulk_request_is_looked_up(search: Search, proxy: Between, arrives: bool) -> None:
    lost: list[str] = []

    def after(path: str, status: int, body: bytes) -> Answer:
        if "/_bulk" in path and not lost:
            lost.append(path)
            return None
        return status, body

    if arrives:
        proxy.after = after
    else:
        proxy.before = once(lambda body: [None])
    with closing(search.engine()) as engine:
        report = engine.run("posts")
        outcomes = [o.outcome for o in engine.outcomes(report.run)]
    assert (report.verdict, search.state()) == (Verdict.REPAIRED, (5, 5))
    assert outcomes == ([Outcome.CONVERGED] if arrives else [Outcome.APPLIED])


#: Where the client is killed: the step, whether before or after it, and the outcomes that the ledger has in the end.
POINTS: dict[str, tuple[Any, str, str, list[Outcome]]] = {
    "before the unit reads": (OpensearchUnit, "read", "before", [Outcome.NOT_APPLIED, Outcome.APPLIED]),
    "before the request": (OpensearchUnit, "write", "before", [Outcome.NOT_APPLIED, Outcome.APPLIED]),
    "after the request": (OpensearchUnit, "write", "after", [Outcome.CONVERGED]),
    "before the outcome is recorded": (Ledger, "close_unit", "before", [Outcome.CONVERGED]),
    "after the outcome is recorded": (Ledger, "close_unit", "after", [Outcome.APPLIED]),
}


def _die(point: str, folder: Path, url: str) -> None:
    """Run the engine, and kill this process at the point."""
    owner, name, when, _ = POINTS[point]
    with around(owner, name, **{when: lambda: os.kill(os.getpid(), signal.SIGKILL)}):  # type: ignore[arg-type]
        Search(folder, url, fresh=False).run()


@pytest.mark.parametrize("point", POINTS)
def test_a_client_that_is_killed_never_has_its_work_called_applied_without_proof(search: Search, point: str) -> None:
    child = children.Process(target=_die, args=(point, search.folder, search.url))
    child.start()
    child.join(2 * PATIENCE_S)
    assert child.exitcode == -signal.SIGKILL
    with closing(search.engine()) as engine:
        verdict = engine.run("posts").verdict
        found = [o.outcome for run in reversed(engine.runs("posts")) for o in engine.outcomes(run.id)]
    assert verdict is Verdict.REPAIRED
    assert search.state() == (5, 5)
    assert found == POINTS[point][3]


def test_a_newer_delivery_after_the_crash_is_not_taken_back(search: Search) -> None:
    child = children.Process(target=_die, args=("after the request", search.folder, search.url))
    child.start()
    child.join(2 * PATIENCE_S)
    search.write(1, 8)
    search.run()
    assert search.state() == (8, 8)
