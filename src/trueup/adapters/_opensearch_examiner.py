"""What a repair of an index depends on and only the server can tell: its version, and how long it remembers deletes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from trueup.adapters import Server
from trueup.adapters._opensearch_http import Http
from trueup.adapters._opensearch_index import GC_DELETES, Index
from trueup.adapters._unexamined import Unexamined
from trueup.core.binding import Binding
from trueup.core.findings import Finding, fact


class OpensearchExaminer(Unexamined):
    """Looks at settings. There is no race probe: it would need an index of its own on the user's cluster."""

    def __init__(self, http: Http, indexes: Mapping[str, Index]) -> None:
        super().__init__()
        self._http = http
        self._indexes = indexes

    def server(self) -> Server:
        told = self._http.ask("GET", "/").get("version", {})
        return Server(version=f"{told.get('distribution', 'elasticsearch')} {told.get('number', '')}".strip())

    def sides(self, binding: Binding, roles: Sequence[str]) -> list[Finding]:
        return [
            replace(self._remembers(getattr(binding, role).side.index), place=f"{_place(binding)}.{role}")
            for role in roles
            if role == "target"
        ]

    def _remembers(self, declared: str) -> Finding:
        """An older message brings a deleted document back once its version is forgotten."""
        index = self._indexes[declared]
        return fact(
            "deletes",
            index.remembers != GC_DELETES,
            f"index.gc_deletes is {index.remembers}",
            why="the version of a deleted document is remembered for so long; a message that is later brings it back",
            remedy=f'PUT {index.path}/_settings {{"index.gc_deletes": "1h"}}, or more than the pipeline can lag',
        )


def _place(binding: Binding) -> str:
    return f"projections.{binding.projection.name}"
