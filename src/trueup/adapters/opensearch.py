"""OpenSearch and Elasticsearch: documents of one index as rows.

Everything is read from one point in time, after a refresh, page by page, and counts only if every shard answered in
time and as many documents came as there are. A few rows are read by id, which sees every write at once. A document is
written only if it still has the sequence number that it had before the source was read, or a version that is not newer
than the source's. There is no transaction: nothing can be left behind that proves a lost answer, and no fence be held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

from trueup.adapters import Capabilities, Examiner, Survey, Unit
from trueup.adapters._documents import DocumentStore
from trueup.adapters._opensearch_examiner import OpensearchExaminer
from trueup.adapters._opensearch_http import Http, Missing, reason_of
from trueup.adapters._opensearch_index import VERSION, Index, Layout, index_of, resolved, shape_of
from trueup.adapters._opensearch_unit import OpensearchUnit, documents, token_of
from trueup.adapters._sorting import Row
from trueup.core.binding import Binding, BoundSide, Shape
from trueup.core.decide import Action
from trueup.core.guarantee import Writing
from trueup.core.plan import Everything, Range
from trueup.core.projection import Database, Side
from trueup.core.row import Key
from trueup.core.text import namesakes
from trueup.errors import BrokenRead, ConfigError, DataProblem, DesignProblem, TrueupError

#: Documents of one page.
PAGE = 1_000
#: How long a point in time is kept between two pages.
KEEP = "5m"
#: Documents that are no rows, named in a message at most.
NAMED = 5


def connect(name: str, database: Database) -> OpensearchAdapter:
    return OpensearchAdapter(name, database)


class OpensearchAdapter(DocumentStore):
    """Reads and repairs documents of indexes of one cluster."""

    capabilities = Capabilities(
        dialect="",
        # A document's sequence number and primary term: they are read with it, and every write gives it others.
        writing=Writing(row_locks=False, row_version=True, single_writer=False),
        places=("index",),
    )
    access = (
        "refreshed, then read from one point in time in one pass, and sorted here; there is no fence to hold: a stop "
        "is looked at before each unit, and one that is being written is not called back"
    )

    def __init__(self, name: str, database: Database) -> None:
        super().__init__(name, database)
        self.http = Http(name, database)
        #: Indexes as they were when they were described, at the beginning of a run, by declared name.
        self._indexes: dict[str, Index] = {}
        self._opensearch: bool | None = None

    def close(self) -> None:
        self.http.close()

    @property
    def examiner(self) -> Examiner:
        return OpensearchExaminer(self.http, self._indexes)

    # --- shape -----------------------------------------------------------------------------------------------------

    def describe(self, side: Side) -> Shape:
        index = resolved(self.http, side)
        self._indexes[index.declared] = index
        return shape_of(index, side)

    def _index(self, side: BoundSide) -> Index:
        """The index that was described, which still has its name.

        Raises DesignProblem: what was compared is another index than what would be written.
        """
        seen = self._indexes[side.side.index or ""]
        was = f"{self.http.where}: {seen.declared!r} was index {seen.name!r} ({seen.uuid}) when the run began"
        try:
            now = index_of(self.http, seen.declared)
        except (ConfigError, Missing) as other:
            raise BrokenRead(f"{was}, and now: {other}. Nothing more was read or written") from other
        if not seen.is_still(now):
            raise BrokenRead(
                f"{was}, and is {now.name!r} ({now.uuid}) now. Nothing more was read or written; run again"
            )
        return seen

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:
        found = super().survey(binding, of, ordered=ordered)
        kept = {self._indexes[side.side.index or ""].remembers for side in of}
        told = f"the version of a deleted document is remembered for {', '.join(sorted(kept))} (index.gc_deletes)"
        return replace(found, reason=f"{found.reason}; {told}: set it to more than your pipeline can lag")

    # --- reading ---------------------------------------------------------------------------------------------------

    def scan(self, binding: Binding, side: BoundSide, part: Everything | Range, *, tokens: bool) -> Iterator[list[Row]]:  # noqa: ARG002
        index = self._index(side)
        layout = Layout.of(binding, side, index)
        odd: list[str] = []
        count = 0
        self._shards(self.http.ask("POST", f"{index.path}/_refresh"), "refresh")
        for hits in self._pages(index, layout, side.side.sort):
            page: list[Row] = []
            for hit in hits:
                try:
                    key = layout.key_at(hit["_id"])
                except ValueError as why:
                    count += 1
                    odd += [f"{hit['_id']!r} ({why})"] if len(odd) < NAMED else []
                    continue
                page.append((*key, *self._values(layout, hit), *([token_of(hit)] if tokens else [])))
            yield page
        self._index(side)
        if count:
            raise DataProblem(
                f"{self.http.where}: {count:,} documents of {index.declared!r} have ids that are not of the form "
                f"{layout.pattern.text!r}: {', '.join(odd)}{', …' if count > len(odd) else ''}. Nothing was compared. "
                f"Change `id`, or delete them"
            )

    def _values(self, layout: Layout, hit: dict[str, Any]) -> Sequence[Any]:
        if "_routing" in hit:
            raise DesignProblem(
                f"{self.http.where}: document {hit['_id']!r} is routed by {hit['_routing']!r} and not by its id, so it "
                f"cannot be found by it; such an index cannot be compared"
            )
        document = hit.get("_source", None if layout.paths else {})
        if not isinstance(document, dict):
            raise BrokenRead(f"{self.http.where}: document {hit['_id']!r} came without its contents (_source)")
        return layout.row(document, int(hit["_version"]))

    def _pages(self, index: Index, layout: Layout, sort: str) -> Iterator[list[dict[str, Any]]]:
        """All documents at one point in time.

        Raises BrokenRead if they are not proven to be all.
        """
        field = sort or ("_id" if self._is_opensearch() else "_shard_doc")
        body: dict[str, Any] = {
            "size": PAGE,
            "query": {"match_all": {}},
            "sort": [{field: "asc"}],
            "track_total_hits": True,
            "seq_no_primary_term": True,
            "version": True,
            "_source": layout.paths or False,
        }
        received, last = 0, None
        with self._point_in_time(index) as pit:
            while True:
                body["pit"] = {"id": pit[0], "keep_alive": KEEP}
                answer = self.http.ask("POST", "/_search", params={"allow_partial_search_results": "false"}, body=body)
                hits = self._hits(answer, index)
                total = int(answer["hits"]["total"]["value"])
                pit[0] = answer.get("pit_id", pit[0])
                if not hits:
                    break
                received += len(hits)
                yield hits
                after = hits[-1].get("sort")
                if not after or after == last or after[0] is None:
                    raise BrokenRead(f"{self.http.where}: {index.name}: pages cannot be told apart by {field!r}")
                body["search_after"] = last = after
        if received != total:
            raise BrokenRead(
                f"{self.http.where}: {index.name}: {received:,} documents came of {total:,}, so what was read counts "
                f"for nothing. Does {field!r} tell documents apart?"
            )

    def _hits(self, answer: dict[str, Any], index: Index) -> list[dict[str, Any]]:
        """The documents of one page, if every shard gave what it has."""
        self._shards(answer, "search")
        found = answer.get("hits", {})
        total = found.get("total", {})
        if answer.get("timed_out") is not False or answer.get("terminated_early"):
            raise BrokenRead(f"{self.http.where}: {index.name}: the search ran out of time before its end")
        if not isinstance(total, dict) or total.get("relation") != "eq" or not isinstance(found.get("hits"), list):
            raise BrokenRead(f"{self.http.where}: {index.name}: the search does not say how many documents there are")
        return list(found["hits"])

    def _shards(self, answer: dict[str, Any], what: str) -> None:
        told = answer.get("_shards", {})
        if told.get("failed") != 0 or not told.get("total"):
            why = "; ".join(reason_of({"error": failure.get("reason")}) for failure in told.get("failures", [])[:2])
            raise BrokenRead(
                f"{self.http.where}: {what}: {told.get('failed', 'an unknown number')} of {told.get('total', 'its')} "
                f"shards failed, so what it says counts for nothing. {why}".rstrip()
            )

    @contextmanager
    def _point_in_time(self, index: Index) -> Iterator[list[str]]:
        """The id of a point in time; each answer may give it another."""
        ours = self._is_opensearch()
        path = f"{index.path}/_search/point_in_time" if ours else f"{index.path}/_pit"
        answer = self.http.ask("POST", path, params={"keep_alive": KEEP})
        if "_shards" in answer:
            self._shards(answer, "point in time")
        pit = [str(answer["pit_id" if ours else "id"])]
        try:
            yield pit
        finally:
            gone = ("/_search/point_in_time", {"pit_id": pit}) if ours else ("/_pit", {"id": pit[0]})
            with suppress(TrueupError):  # it ends by itself; what was read, or why it was not, says more
                self.http.ask("DELETE", gone[0], body=gone[1])

    def _is_opensearch(self) -> bool:
        """Which of the two it is: they call a point in time by different names."""
        if self._opensearch is None:
            self._opensearch = self.http.ask("GET", "/").get("version", {}).get("distribution") == "opensearch"
        return self._opensearch

    def fetch(self, binding: Binding, side: BoundSide, keys: Sequence[Key], *, tokens: bool) -> list[Row]:
        index = self._index(side)
        layout = Layout.of(binding, side, index)
        rows = []
        for key, hit in documents(self.http, index, layout, keys, layout.paths).items():
            rows.append((*key, *self._values(layout, hit), *([token_of(hit)] if tokens else [])))
        return rows

    # --- repairing -------------------------------------------------------------------------------------------------

    @contextmanager
    def unit(self, binding: Binding, unit: Unit) -> Iterator[OpensearchUnit]:  # noqa: ARG002
        index = self._index(binding.target)
        yield OpensearchUnit(self.http, index, binding)

    def namesakes(self, binding: Binding, key: Key) -> Iterator[Key]:
        layout = Layout.of(binding, binding.target, self._indexes[binding.target.side.index or ""])
        return namesakes(layout.pattern, layout.key, key)

    def statement(self, binding: Binding, action: Action) -> str:
        side = binding.target.side
        fields = ", ".join(
            f'"{column.name}": :{column.name}' for column in binding.target.values if column.name != VERSION
        )
        versions = [column for column in binding.target.values if column.name == VERSION]
        still = '"if_seq_no": :seq_no, "if_primary_term": :primary_term'
        if versions:
            still = f'"version": :{VERSION}, "version_type": "external"'
        name = f'"_id": "{side.id}"'
        bulk, make = f"POST /{side.index}/_bulk", f'{{"create": {{{name}}}}}'
        if versions:
            make = f'{{"index": {{{name}, {still}}}}}'
        return {
            Action.INSERT: f"{bulk} {make} {{{fields}}}",
            Action.UPDATE: f'{bulk} {{"index": {{{name}, {still}}}}} {{…, {fields}}}',
            Action.DELETE: f'{bulk} {{"delete": {{{name}, {still}}}}}',
        }.get(action, "")
