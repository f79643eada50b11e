"""One repair unit in an index: documents by id, then one bulk request whose items each demand what was read.

Each item is judged by itself: others of the same request may have been carried out. What it demands is the sequence
number that was read; or, where the document's version is compared, that it has none that is newer than the source's.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from trueup.adapters import RowOutcome
from trueup.adapters._alone import MOVING
from trueup.adapters._documents import held
from trueup.adapters._opensearch_fields import put
from trueup.adapters._opensearch_http import ANSWER_S, PASSING, Http, reason_of, spelled
from trueup.adapters._opensearch_index import Index, Layout, check_versions
from trueup.adapters._outcomes import HeldRow
from trueup.core.binding import Binding
from trueup.core.row import Key
from trueup.core.states import Outcome
from trueup.errors import BrokenRead, DataProblem, Transient

#: What the server says of an item whose document is not as it was read: another version, or none any more.
_MOVED = frozenset({404, 409})


def documents(
    http: Http, index: Index, layout: Layout, keys: Sequence[Key], paths: Sequence[str] | None
) -> dict[Key, dict[str, Any]]:
    """The documents of keys as they are at this moment; those that there are. `paths`: fields that are wanted; None:
    whole documents.

    Raises BrokenRead if the answer is not about all of them.
    """
    ids: dict[str, Key] = {}
    for key in keys:
        with suppress(DataProblem):  # one that no id can stand for has no document
            ids[layout.id_of(key)] = key
    if not ids:
        return {}
    params = {"realtime": "true"}
    if paths is not None:
        params |= {"_source_includes": ",".join(paths)} if paths else {"_source": "false"}
    answer = http.ask("POST", f"{index.path}/_mget", params=params, body={"ids": list(ids)})
    found = answer.get("docs", [])
    if [item.get("_id") for item in found] != list(ids):
        raise BrokenRead(
            f"{http.where}: {index.name}: {len(found)} documents were told of {len(ids)} that were asked for"
        )
    for item in found:
        if "error" in item or not isinstance(item.get("found"), bool):
            raise BrokenRead(f"{http.where}: {index.name}: a document cannot be read: {reason_of(item)}")
    return {ids[item["_id"]]: item for item in found if item["found"]}


def token_of(hit: Mapping[str, Any]) -> str:
    """What a document's next write demands, to be sure that there was none."""
    return f"{hit['_seq_no']}:{hit['_primary_term']}"


class OpensearchUnit:
    """What one unit reads and writes."""

    def __init__(self, http: Http, index: Index, binding: Binding) -> None:
        self._http = http
        self._index = index
        self._binding = binding
        self._layout = Layout.of(binding, binding.target, index)
        self._seen: dict[Key, dict[str, Any]] = {}
        if self._layout.version_at is not None:
            check_versions(http.where, index, binding, self._layout)

    def read(self, keys: Sequence[Key]) -> dict[Key, HeldRow]:
        self._seen = documents(self._http, self._index, self._layout, keys, None)
        return self._held(self._seen)

    def _held(self, found: Mapping[Key, dict[str, Any]]) -> dict[Key, HeldRow]:
        rows = (
            (*key, *self._layout.row(hit["_source"], int(hit["_version"])), token_of(hit)) for key, hit in found.items()
        )
        return held(self._binding, rows)

    def write(self, rows: Sequence[RowOutcome]) -> list[RowOutcome]:
        lines = [line for row in rows for line in self._item(row)]
        answer = self._http.ask("POST", f"{self._index.path}/_bulk", body="\n".join([*lines, ""]), timeout_s=ANSWER_S)
        items = [next(iter(item.values())) for item in answer.get("items", [])]
        if [item.get("_id") for item in items] != [self._layout.id_of(row.key) for row in rows]:
            raise BrokenRead(
                f"{self._http.where}: {self._index.name}: the answer to a bulk request is not about its items"
            )
        judged = [self._judged(row, item) for row, item in zip(rows, items, strict=True)]
        return self._read_back(judged)

    def _item(self, row: RowOutcome) -> list[str]:
        """The lines that give a row its values, if it still is as it was read. What else a document has stays; where it
        goes by versions, it has nothing else.
        """
        seen = self._seen.get(row.key)
        operation, demand = self._demand(row, seen)
        action = spelled({operation: {"_id": self._layout.id_of(row.key), **demand}})
        if row.after is None:
            return [action]
        document = copy.deepcopy(seen["_source"]) if seen and self._layout.version_at is None else {}
        try:
            for field, value in zip(self._layout.values, row.after, strict=True):
                if field is not None:
                    put(document, field.path, field.stored(value))
        except ValueError as lossy:
            raise DataProblem(f"key {row.key}: {lossy}") from None
        return [action, spelled(document)]

    def _demand(self, row: RowOutcome, seen: Mapping[str, Any] | None) -> tuple[str, dict[str, Any]]:
        """The operation, and what has to be so for it to be carried out."""
        at = self._layout.version_at
        operation = "delete" if row.after is None else "index"
        if at is None:
            if seen is None:
                return "create", {}
            return operation, {"if_seq_no": seen["_seq_no"], "if_primary_term": seen["_primary_term"]}
        held = None if seen is None else int(seen["_version"])
        issued = held if row.after is None else row.after[at]
        if not isinstance(issued, int) or issued < 0:
            raise DataProblem(f"key {row.key}: the source row has no version (a number from 0 on): {issued!r}")
        # The same version again is for a document that has it with other contents; it is deleted at its own version.
        return operation, {"version": issued, "version_type": "external_gte" if held == issued else "external"}

    def _judged(self, row: RowOutcome, item: Mapping[str, Any]) -> RowOutcome:
        status = int(item.get("status", 0))
        if status in (200, 201):
            return replace(row, token=token_of(item))
        if status in _MOVED:
            return _lost(row, Outcome.CAS_LOST, MOVING, busy=True)
        why = reason_of(item)
        if status in PASSING:
            return _lost(row, Outcome.NOT_APPLIED, why, busy=True)
        if any(self._binding.hidden):
            why = f"{status}: the server refused the document; what it says may hold sensitive values, and is not kept"
        return _lost(row, Outcome.FAILED, why)

    def _read_back(self, rows: Sequence[RowOutcome]) -> list[RowOutcome]:
        """What was written, as it is now: a pipeline of the index may have changed it on its way in."""
        written = [row.key for row in rows if row.outcome is Outcome.APPLIED]
        try:
            now = self._held(documents(self._http, self._index, self._layout, written, None))
        except Transient:
            return list(rows)  # the server has said of each that it was written
        checked = []
        for row in rows:
            there = now.get(row.key)
            if row.outcome is Outcome.APPLIED and there and there.token == row.token and there.values != row.after:
                kept = "does not hold what was written: does a pipeline of the index change documents?"
                checked.append(
                    replace(row, outcome=Outcome.FAILED, after=there.values, evidence=f"the document {kept}")
                )
            else:
                checked.append(row if row.after is not None else replace(row, token=""))
        return checked


def _lost(row: RowOutcome, outcome: Outcome, why: str, *, busy: bool = False) -> RowOutcome:
    return RowOutcome(key=row.key, outcome=outcome, before=row.before, evidence=why, busy=busy)
