"""Backfills and one-off corrections as the engine carries them out, and the registry of what was declared when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from trueup import backfills, described, sandbox
from trueup.asking import Asking
from trueup.bound import without_password
from trueup.core.backfill import Backfill
from trueup.core.fixes import hashed
from trueup.core.projection import Canary, Projection
from trueup.core.told import Fact
from trueup.errors import ConfigError, Refused, UsageError
from trueup.fixing import Fixing, fixed
from trueup.sandbox import Rehearsal
from trueup.side_by_side import Pair
from trueup.store.definitions import Defined, Definitions
from trueup.store.engine import exists
from trueup.store.inputs import Inputs


class Backfilling(Asking):
    """An engine that takes files of backfills for projections."""

    #: Files that were read, by the name of their backfill.
    _loaded: dict[str, backfills.Loaded]
    #: Backfills of earlier calls, which the ledger knows of.
    _recalled: set[str]
    #: Those of them whose file cannot be read any more, and why.
    _lost: dict[str, str]

    def __init__(self, **declared: Any) -> None:
        self._loaded, self._recalled, self._lost = {}, set(), {}
        super().__init__(**declared)

    # --- files -------------------------------------------------------------------------------------------------------

    def backfill(self, file: str | Path) -> str:
        """Make what a file describes (`FILE.py`, `FILE.sql`) one of the projections; its name, for `check`, `run`, ….

        Raises ConfigError where the file is not right, UsageError where a projection has its name.
        """
        known = [name for name in self.databases if not name.startswith("<")]
        loaded = backfills.load(Path(file), known, self.dialect)
        name = loaded.declared.name
        if name in self.projections and name not in self._loaded:
            raise UsageError(f"{file}: there is a projection {name!r}; give the backfill another `name`")
        self._loaded[name] = loaded
        self.projections[name] = self._with_columns(loaded.declared)
        return name

    def take(self, loaded: backfills.Loaded, declared: Backfill) -> None:
        """Make a file that was read one of the projections, declared in another way than it says."""
        self._loaded[declared.name] = loaded
        self.projections[declared.name] = declared

    def _with_columns(self, declared: Backfill) -> Backfill:
        """With the columns that its SQL uses as the table spells them; what else its SQL names is none."""
        shape = self.patience.read(partial(self.shape, declared.name, "target", declared.target))
        spelt = {name.lower(): name for name in shape.columns}
        given = set(self._loaded[declared.name].given)
        reads = [name if name in given else spelt.get(name.lower(), "") for name in declared.reads]
        kept = tuple(dict.fromkeys(n for n in reads if n and n not in (*declared.writes, *declared.key)))
        return declared.model_copy(update={"reads": kept, "columns": (*kept, *declared.writes)})

    def projection(self, name: str) -> Projection:
        if name not in self.projections:
            self._recall(name)
        return super().projection(name)

    def declares(self, name: str) -> bool:
        """Is there a projection of this name, or a backfill whose file is still there?"""
        try:
            return self.projection(name).name == name
        except (ConfigError, UsageError):
            return False

    def _recall(self, name: str) -> None:
        """A backfill of an earlier call: the ledger knows where its file is, and the file what it is."""
        known = self._known(name)
        if known is None:
            return
        try:
            self._recalled.add(self.backfill(Path(known.content["code"].get("file", ""))))
        except ConfigError as error:  # what it wrote can be put back without it
            self._recalled.add(name)
            self._lost[name] = str(error)
            self.projections[name] = _declared(known)

    def _known(self, name: str) -> Defined | None:
        known = self.definitions_kept.newest(name) if exists(self.ledger_url) else None
        return known if known is not None and known.content["kind"] == "backfill" else None

    def remembered(self, name: str) -> Backfill | None:
        """A backfill as it was declared when it last ran, without a look at its file; None: the ledger knows of none on
        a database that is declared here.
        """
        known = self._known(name)
        try:
            declared = None if known is None else _declared(known)
        except ValidationError:  # of another version
            return None
        return declared if declared is not None and declared.target.database in self.databases else None

    def _switchable(self, name: str) -> Projection:
        """As declared; of a backfill that is not at hand as it last ran: its file may hang, or be what is wrong."""
        return self.projections.get(name) or self.remembered(name) or super()._switchable(name)

    def _at_large(self) -> list[str]:
        """Backfills of other calls that run, can be gone on with, or are asked for."""
        asked = {request.projection for request in self.queue.open()}
        known = [name for name in self.definitions_kept.names() if name not in self.projections]
        at_large = [name for name in known if name in asked or self.standing.last_run(name, unfinished=True)]
        return [name for name in at_large if self.remembered(name) is not None]

    def forget(self) -> None:
        """Backfills of earlier calls are read anew when they are asked for next: their files may have changed."""
        for name in self._recalled:
            for kept in (self.projections, self._loaded, self._lost):
                kept.pop(name, None)
        self._recalled.clear()

    def computed(self, pair: Pair, first: Canary | None) -> Pair:
        declared = pair.binding.projection
        if not isinstance(declared, Backfill):
            return pair
        name = declared.name
        if name in self._lost:
            raise UsageError(f"{name} is a backfill, and its file is lost: {self._lost[name]}")
        definition = self.definition(name)
        known = Inputs(self.ledger.reading, self.ledger.lots, name, declared.revision, definition, hashed)
        apart = {*self.kept_out.held(name), *self.acceptances.active(name, self.clock.now())}
        fixing = Fixing(
            declared=declared,
            fix=self._loaded[name].fix,
            known=known,
            apart=frozenset(apart),
            first=first,
        )
        adapter = fixed(pair.target, fixing)
        return replace(pair, source=adapter, target=adapter)

    def rehearse(self, name: str, *, rows: int = 100) -> Rehearsal:
        """Carry a backfill out on a copy of the rows that it is about, which is removed afterwards: what would happen.

        Raises UsageError for what is no backfill, Refused where the database offers no copy.
        """
        declared = self.projection(name)
        if not isinstance(declared, Backfill):
            raise UsageError(f"{name} is no backfill: only a backfill can be tried in a sandbox")
        if name in self._lost:
            raise UsageError(f"{name} is a backfill, and its file is lost: {self._lost[name]}")
        database = self.databases[declared.target.database]
        adapter = self._adapter(declared.target.database)
        with self.answerable("sandbox", name):
            tried = sandbox.rehearse(self._loaded[name], declared, database, adapter, type(self), rows)
            facts: dict[str, Fact] = {"verdict": str(tried.report.verdict), "code_sha256": declared.code}
            with self.ledger.begin() as c:
                self.ledger.audit.stage(c, "backfill.rehearsed", facts, projection=name)
        return tried

    # --- the registry ------------------------------------------------------------------------------------------------

    @cached_property
    def definitions_kept(self) -> Definitions:
        return Definitions(self.ledger)

    def definitions(self, name: str) -> list[Defined]:
        """What a projection was declared as, oldest first, and the runs that had it."""
        found = self.definitions_kept.of(name) if exists(self.ledger_url) else []
        return found or self.definitions_kept.of(self.projection(name).name)

    def as_defined(self, run: str) -> str:
        """Declare a projection once more as it was when a run began, for what is asked of it next; its name.

        Raises UsageError for an unknown run, Refused where that is not to be had any more.
        """
        row = self.find_run(run)
        kept = self.definitions_kept.of_run(row.id)
        if kept is None:
            raise UsageError(f"run {row.id} is from before definitions were kept")
        name, content = row.projection, kept.content
        if content["kind"] == "backfill":
            self._same_file(row.id, self.projection(name), content)
        model = Backfill if content["kind"] == "backfill" else Projection
        self.projections[name] = model.model_validate({**content["declared"], "name": name})
        if self.definition(name) != row.definition and row.undoes is None:
            raise Refused(
                f"run {row.id}: {name} cannot be declared as it was then: its databases are elsewhere now, or another "
                f"version of Trueup reads the declaration in another way; `trueup definitions {name}` shows both"
            )
        return name

    @staticmethod
    def _same_file(run: str, now: Projection, content: Mapping[str, Any]) -> None:
        """The code of a backfill is in its file, and the ledger has only its fingerprint."""
        if isinstance(now, Backfill) and now.code == content["declared"]["code"]:
            return
        code = content["code"]
        commit = code.get("git", "").rstrip("+")
        where = f"; git show {commit}:… has it" if commit else ""
        raise Refused(f"run {run}: {code['file']} is not what it was then{where}. Bring the file back, and try again")

    def described(self, name: str) -> str:
        projection = self.projection(name)
        if name in self._lost and (known := self._known(name)) is not None:
            return known.sha256  # without its file it is what it was
        sides = {side.database for side in (projection.source, projection.target)}
        at = {side: without_password(self.databases[side].url.get_secret_value()) for side in sorted(sides)}
        file = self._loaded[name].path if name in self._loaded else self.file
        content = described.content_of(projection, at, file)
        return self.definitions_kept.keep(name, content, self.clock.now())


def _declared(known: Defined) -> Backfill:
    """A backfill as the ledger has it."""
    return Backfill.model_validate({**known.content["declared"], "name": known.projection})
