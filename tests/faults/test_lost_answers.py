"""The connection breaks at COMMIT: the unit took place or it did not, and the ledger says which.

"Connection lost" is the same error in both cases. Whoever takes it for a failure and tries again applies twice or lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.crash import Case, cut_everywhere
from tests.faults.proxy import Proxy, proxied
from tests.live.harness import Background, Counters, Docs, around, blocked
from tests.servers import Pair
from trueup.adapters._steps import UnitTransaction
from trueup.core.states import Outcome, Verdict
from trueup.errors import TrueupError


@dataclass(frozen=True, kw_only=True)
class Line:
    """An application whose database the engine reaches through a proxy; the application itself does not."""

    app: Counters
    proxy: Proxy
    through: str

    def engine(self, folder: Path, **how: object):
        direct, self.app.db.url = self.app.db.url, self.through
        try:
            return self.app.engine(folder, **how)
        finally:
            self.app.db.url = direct

    def cut_at_commit(self, mode: str):
        """Arm the proxy when the first unit has done everything but commit."""
        return around(UnitTransaction, "update", after=lambda: setattr(self.proxy, "armed", mode))


@pytest.fixture
def line(postgres: str) -> Iterator[Line]:
    app = Counters(postgres)
    app.fill({1: (5, 7), 2: (5, None), 3: (5, 5)})
    app.db.sql(
        "CREATE TABLE writes(post INT)",
        "CREATE FUNCTION w() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO writes VALUES (new.post); RETURN NULL; END'",
        "CREATE TRIGGER w AFTER INSERT OR UPDATE ON counter FOR EACH ROW EXECUTE FUNCTION w()",
    )
    with proxied(postgres) as (proxy, through):
        yield Line(app=app, proxy=proxy, through=through)


def test_control_the_client_cannot_tell_the_two_apart(postgres: str) -> None:
    import psycopg

    app = Counters(postgres)
    app.fill({1: (5, 7)})
    errors = []
    for mode in ("before", "after"):
        with proxied(postgres) as (proxy, through):
            connection = psycopg.connect(through)
            connection.execute("UPDATE counter SET n = n - 1 WHERE post = 1")
            proxy.armed = mode
            with pytest.raises(psycopg.OperationalError) as lost:
                connection.commit()
            errors.append((type(lost.value), lost.value.sqlstate))
            connection.close()
    assert errors[0] == errors[1]
    assert app.db.sql("SELECT n FROM counter") == [(6,)]  # one of the two did commit


@pytest.mark.parametrize("mode", ["before", "after"])
@pytest.mark.parametrize("declared", ["same_transaction", "mutex"])
def test_the_answer_is_found_out_at_once(line: Line, tmp_path: Path, mode: str, declared: str) -> None:
    with line.engine(tmp_path, writers=declared) as engine:
        with line.cut_at_commit(mode):
            report = engine.run("counter")
        assert line.proxy.cuts == 1
        told = [(o.key[0], o.before, o.after) for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED]
    assert report.verdict is Verdict.REPAIRED
    assert sorted(told) == [(1, (7,), (5,)), (2, None, (5,))]
    assert sorted(line.app.db.sql("SELECT post FROM writes")) == [(1,), (2,)]
    assert line.app.wrong() == {}


@pytest.mark.parametrize(("mode", "word"), [("before", Outcome.NOT_APPLIED), ("after", Outcome.APPLIED)])
def test_the_answer_is_found_out_by_the_next_run(line: Line, tmp_path: Path, mode: str, word: Outcome) -> None:
    """The network stays away, so the run cannot ask; its unit stays open in the ledger until somebody can."""

    def cut_for_good() -> None:
        line.proxy.armed, line.proxy.down = mode, True

    with line.engine(tmp_path, writers="mutex") as engine:
        with around(UnitTransaction, "update", after=cut_for_good), pytest.raises(TrueupError):
            engine.run("counter")
        assert len(engine.ledger.open_units("counter")) == 1
        line.proxy.down = False
        engine.resume("counter")  # the engine paused it
        report = engine.run("counter")
        recovered = {o.outcome for o in engine.outcomes(report.run) if o.witness == "recovery"}
        applied = sorted(o.key[0] for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED)
    assert (report.verdict, report.resumed) == (Verdict.REPAIRED, True)
    assert recovered == {word}
    assert applied == [1, 2]
    assert sorted(line.app.db.sql("SELECT post FROM writes")) == [(1,), (2,)]


@pytest.mark.parametrize(("mode", "word"), [("before", Outcome.NOT_APPLIED), ("after", Outcome.CONVERGED)])
def test_without_markers_the_words_are_weaker(line: Line, tmp_path: Path, mode: str, word: Outcome) -> None:
    with line.engine(tmp_path, writers="mutex", settings={"markers": False}) as engine:
        with line.cut_at_commit(mode), around(type(engine.ledger), "close_unit") as closed:
            report = engine.run("counter")
        words = {o.outcome for o in engine.outcomes(report.run)}
        assert closed
    assert report.verdict is Verdict.REPAIRED
    assert sorted(line.app.db.sql("SELECT post FROM writes")) == [(1,), (2,)]
    assert line.app.wrong() == {}
    # Not applied at first, then tried again and applied: the last word is what stays in the ledger.
    assert words == ({Outcome.APPLIED} if word is Outcome.NOT_APPLIED else {word})


@pytest.mark.parametrize(("kind", "every"), [("postgres_pair", 8), ("mariadb_pair", 2)])
def test_a_cut_before_and_after_commits_of_whole_runs(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, every: int
) -> None:
    """All commits of all topologies: `python -m tests.campaign.kill cuts`."""
    pair: Pair = request.getfixturevalue(kind)
    case = Case(name=f"two databases, {kind}", source=pair.source, target=pair.target, folder=tmp_path)
    case.build()
    points, bad = cut_everywhere(case, every=every, first=1)
    assert points >= 4
    assert not bad, "\n".join(f"{point}: {'; '.join(wrong)}" for point, wrong in bad.items())


def test_the_fence_may_be_cut_too(line: Line, tmp_path: Path) -> None:
    """Raising the fence twice is harmless; only the answer of the last raising counts."""
    with line.engine(tmp_path) as engine:
        arm = around(type(engine._adapter("app")), "begin_fencing", after=lambda: setattr(line.proxy, "armed", "after"))
        with arm:
            assert engine.run("counter").verdict is Verdict.REPAIRED
        assert line.proxy.cuts == 1
    assert line.app.wrong() == {}


def test_an_insert_that_was_recovered_is_withdrawn_too(postgres_pair: Pair, tmp_path: Path) -> None:
    """Committed, the answer lost, the source row gone meanwhile: the marker is all that knows of our insert."""
    docs = Docs(*postgres_pair)
    docs.put(docs.source, 1, 5)

    def cut_and_remove() -> None:
        proxy.armed = "after"
        docs.put(docs.source, 1, None)

    with proxied(docs.target.url) as (proxy, through):
        direct, docs.target.url = docs.target.url, through
        engine = docs.engine(tmp_path)
        docs.target.url = direct
        with engine, around(UnitTransaction, "update", after=cut_and_remove):
            report = engine.run("doc")
    assert proxy.cuts == 1
    assert docs.state() == (None, None)
    assert report.verdict is Verdict.REPAIRED


# --- the server goes on without us -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["COMMIT", "ROLLBACK"])
def test_claiming_a_unit_that_is_still_open_waits_for_its_end(postgres: str, tmp_path: Path, ends: str) -> None:
    """The engine died, the server still works on its statement: what recovery says now must be true later as well."""
    app = Counters(postgres)
    app.fill({1: (5, 7)})
    zombie = app.db.connect()
    with app.engine(tmp_path) as engine:
        adapter = engine._adapter("app")
        adapter.raise_fence("counter")
        binding = engine.binding("counter", writing=True)
        zombie.execute("BEGIN")
        zombie.execute("INSERT INTO trueup_applied(unit, closed, images) VALUES ('u1', false, '[]')")
        zombie.execute("UPDATE counter SET n = 5 WHERE post = 1")
        claiming = Background(lambda: adapter.claim(binding, "u1"))
        blocked(app.db, who="trueup")
        assert not claiming.done
        zombie.execute(ends)
        marker = claiming.join()
        assert marker.applied == (ends == "COMMIT")
        assert adapter.claim(binding, "u1").applied == marker.applied  # and says so ever after
    zombie.close()


def test_a_claimed_unit_can_never_commit(postgres: str, tmp_path: Path) -> None:
    """Recovery came first: the unit that was thought dead wakes up and finds its marker taken."""
    app = Counters(postgres)
    app.fill({1: (5, 7)})
    claimed = []

    with app.engine(tmp_path) as engine, app.engine(tmp_path) as other:

        def claim() -> None:
            (unit, *_) = other.ledger.open_units("counter")[0]
            marker = other._adapter("app").claim(other.binding("counter", writing=True), unit)
            claimed.append((unit, marker.applied))

        other._adapter("app").raise_fence("counter")
        with around(UnitTransaction, "hold_fence", after=claim):
            report = engine.run("counter")
        (unit, was_applied) = claimed[0]
        assert not was_applied
        assert not [o for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED and o.witness == "recovery"]
    assert app.db.sql(f"SELECT closed FROM trueup_applied WHERE unit = '{unit}'") == [(True,)]
    assert app.db.marked() <= 1
