"""What is done is told, exactly once, in bytes that nobody can change afterwards without being found out."""

from __future__ import annotations

import inspect
import json
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from tests.audit.shop import CANARY, ORIGIN, SteadyClock, drift, shop, verified
from tests.pace.stepped import SteppedClock
from trueup.app import Trueup
from trueup.audit import Auditing, csv_row, heads_in
from trueup.clock import SystemClock
from trueup.core.audit_settings import AuditSettings
from trueup.core.pace.sharing import Demand
from trueup.core.states import Outcome
from trueup.core.told import LINE_MAX
from trueup.errors import ConfigError, DesignProblem, Refused, UsageError
from trueup.store import schema as t
from trueup.store import schema_audit as logged
from trueup.store.ledger import Ledger
from trueup.store.paces import Report as Work
from trueup.store.records import OutcomeRow
from trueup.store.sequence import Sequencer


def told(engine: Trueup) -> list[dict[str, Any]]:
    """All lines, oldest first, numbered or not."""
    with engine.ledger.reading() as c:
        return [
            json.loads(line) for line in c.execute(sa.select(logged.audit.c.line).order_by(logged.audit.c.id)).scalars()
        ]


def acts(engine: Trueup) -> list[str]:
    return [line["act"] for line in told(engine)]


def forge(folder: Path, *statements: str) -> None:
    """What somebody with the database can do: the triggers are no obstacle to its owner."""
    with closing(sqlite3.connect(folder / "ledger.db")) as connection, connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            assert connection.execute(statement).rowcount > 0, statement


# --- what is told ----------------------------------------------------------------------------------------------------


def test_a_run_is_told_from_beginning_to_end(tmp_path: Path) -> None:
    drift(tmp_path)
    with shop(tmp_path) as engine:
        report = engine.run("p")
        lines = told(engine)
        checked = engine.audit.verify()
    assert [line["act"] for line in lines] == ["run.began", "rows.intended", "rows.outcome", "run.done"]
    began, intended, outcome, _ = lines
    assert {line["run"] for line in lines} == {report.run}
    assert {line["origin"] for line in lines} == {ORIGIN}
    assert began["statements"].keys() == {"insert", "update", "delete"}
    assert intended["rows"]["key"] == ["[0]", "[1]", "[2]", "[3]"]
    assert outcome["rows"]["outcome"] == "applied"
    assert outcome["rows"]["after"][2] == f'[2, "{CANARY}"]'
    assert outcome["actor"]["by"] == "os"
    assert (checked.problems, checked.lines, checked.heads, checked.staged) == ([], 4, 1, 0)


def test_all_or_nothing(tmp_path: Path) -> None:
    """A line is in the transaction of its record: with the record it is gone."""
    drift(tmp_path)
    with shop(tmp_path) as engine:
        with engine.ledger.reading() as c:  # ends without a commit
            engine.ledger.audit.stage(c, "test.done", {}, projection="p")
        assert acts(engine) == []


def test_a_unit_is_told_once(tmp_path: Path) -> None:
    """Recovery may close a unit that was closed already."""
    drift(tmp_path)
    with shop(tmp_path) as engine:
        engine.run("p")
        with engine.ledger.reading() as c:
            unit, run = c.execute(sa.select(t.units.c.id, t.units.c.run)).one()
        again = OutcomeRow(
            key=(1,), outcome=Outcome.APPLIED, action=None, before=None, after=None, token="", evidence="", witness="x"
        )
        engine.ledger.close_unit(unit, run, [again], datetime(2026, 1, 1, tzinfo=UTC))
        assert acts(engine).count("rows.outcome") == 1


def test_a_changed_declaration_and_a_refusal_are_told(tmp_path: Path) -> None:
    drift(tmp_path)
    with shop(tmp_path) as engine:
        engine.check("p")
    with shop(tmp_path, columns=["n"]) as engine:
        engine.stop("p", reason="no more")
        with pytest.raises(Refused):
            engine.run("p")
        engine.check("p")
        last = told(engine)
    assert [line["act"] for line in last if line["act"] in ("settings.changed", "command.refused")] == [
        "command.refused",
        "settings.changed",
    ]
    refused = next(line for line in last if line["act"] == "command.refused")
    assert (refused["command"], "no more" in refused["reason"]) == ("run", True)


def accepted(engine: Trueup) -> object:
    engine.check("p")
    return engine.accept("p", keys=[{"id": 0}], reason="known", owner="team", until=date(2100, 1, 1))


def tried(engine: Trueup) -> object:
    engine.paces.renew("app", Demand(who="node", wants=1.0), Work(u=0.5, statement_s=0.02, state={}, told={}))
    engine.clock = SteppedClock()
    return engine.try_pace("app", rounds=1, part_s=0.1)


#: Public methods of the engine that change nothing.
READING = {
    *(
        "answerable",
        "asking",
        "shape",
        "shapes",
        "take_over",
        "binding",
        "close",
        "close_adapters",
        "decided",
        "decisions",
        "conduct",
        "definition",
        "drift",
        "explain",
    ),
    *("as_defined", "backfill", "computed", "declares", "definitions", "described", "forget", "remembered", "take"),
    *("find_plan", "find_run", "last_outcomes", "listed_plans", "outcomes", "pair", "plan_standing", "projection"),
    *(
        "quarantine",
        "runs",
        "accepted",
        "designed",
        "dialect",
        "freshness",
        "next_tick",
        "pace",
        "place",
        "promised_back",
        "server",
        "statements",
        "status",
    ),
    *("undefined", "undoable"),
}
#: The others, and a use of each.
CHANGING: dict[str, Callable[[Trueup], object]] = {
    "accept": accepted,
    "apply": lambda engine: engine.apply(engine.plan("p")),
    "approve": lambda engine: engine.approve(planned(engine), reason="right"),
    "check": lambda engine: engine.check("p"),
    "doctor": lambda engine: engine.doctor("p"),
    "erase": lambda engine: engine.erase("p", keys=[{"id": 1}]),
    "in_turn": lambda engine: engine.in_turn("run", "p"),
    "pause": lambda engine: engine.pause("p"),
    "plan": lambda engine: engine.plan("p"),
    "quarantine_drop": lambda engine: engine.quarantine_drop("p", keys=[{"id": 0}]),
    "quarantine_retry": lambda engine: engine.quarantine_retry("p"),
    "rehearse": lambda engine: engine.rehearse(engine.backfill(backfill_file())),
    "reject": lambda engine: engine.reject(planned(engine), reason="wrong"),
    "request": lambda engine: engine.request("p", reason="looks odd"),
    "resume": lambda engine: engine.resume("p"),
    "rollback": lambda engine: engine.rollback(engine.run("p").run),
    "run": lambda engine: engine.run("p"),
    "set_pace": lambda engine: engine.set_pace("app", most=1, reason="sale"),
    "stop": lambda engine: engine.stop("p"),
    "try_pace": tried,
    "withdraw": lambda engine: accepted(engine) and engine.withdraw("p", keys=[{"id": 0}], reason="mended"),
}


def backfill_file() -> Path:
    path = Path(tempfile.mkdtemp()) / "longer.sql"
    path.write_text("-- key = 'id'\nUPDATE tgt SET n = n + 1")
    return path


def planned(engine: Trueup) -> str:
    plan = engine.plan("p").plan
    assert plan is not None
    return plan


def test_every_method_is_known_here() -> None:
    """One that is added has to be told in the log, or to change nothing; say which."""
    methods = {name for name, _ in inspect.getmembers(Trueup, inspect.isfunction) if not name.startswith("_")}
    assert methods == READING | CHANGING.keys()


@pytest.mark.parametrize("name", CHANGING)
def test_every_act_is_told(tmp_path: Path, name: str) -> None:
    drift(tmp_path, 2)
    approval = "one" if name in ("approve", "reject") else "none"
    protect = "10%" if name.endswith("_pace") else None
    with shop(tmp_path, approval=approval, on_different="update", protect=protect) as engine:
        if name.startswith("quarantine"):
            with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
                connection.execute(
                    "CREATE TRIGGER no BEFORE UPDATE ON tgt WHEN OLD.id = 0 BEGIN SELECT RAISE(ABORT, 'no'); END"
                )
            engine.run("p")
        before = len(told(engine))
        CHANGING[name](engine)
        assert len(told(engine)) > before
        assert engine.audit.seal() is None or name in (
            "accept",
            "doctor",
            "pause",
            "request",
            "resume",
            "set_pace",
            "stop",
            "try_pace",
            "quarantine_drop",
            "withdraw",
        )
        assert engine.audit.verify().problems == []


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.fixture
def told_folder(tmp_path: Path) -> Path:
    drift(tmp_path)
    with shop(tmp_path) as engine:
        engine.run("p")
        engine.pause("p", reason="look")
        engine.audit.seal()
        assert engine.audit.verify().problems == []
    return tmp_path


FORGERIES = {
    "an outcome in the ledger": """UPDATE trueup_outcomes SET after = '[7, "x"]' WHERE key = '[2]'""",
    "an outcome is gone": "DELETE FROM trueup_outcomes WHERE key = '[2]'",
    "a unit's hash": "UPDATE trueup_units SET audit = NULL",
    "a plan's or run's hash": "UPDATE trueup_runs SET audit = 'x'",
    "a letter in a line": "UPDATE trueup_audit SET line = replace(line, 'applied', 'apqlied')",
    "a line is gone": "DELETE FROM trueup_audit WHERE seq = 1",
    "the last line is gone": "DELETE FROM trueup_audit WHERE seq = (SELECT max(seq) FROM trueup_audit)",
    "two lines are swapped": "UPDATE trueup_audit SET seq = CASE seq WHEN 1 THEN -2 ELSE 1 END WHERE seq IN (1, 2)",
    "a head is gone, and one says something else": "UPDATE trueup_audit_heads SET root = replace(root, '0', '1')",
}


@pytest.mark.parametrize("statement", FORGERIES.values(), ids=FORGERIES)
def test_what_was_changed_is_found(told_folder: Path, statement: str) -> None:
    forge(told_folder, statement)
    with shop(told_folder) as engine:
        assert engine.audit.verify().problems != []


def test_a_line_that_was_changed_before_it_had_its_number(tmp_path: Path) -> None:
    """The record keeps the hash of what was staged: whoever numbers lines cannot alter them."""
    drift(tmp_path)
    with shop(tmp_path) as engine:
        engine.run("p")
        plan = engine.plan("p")
    assert plan.plan is not None
    forge(tmp_path, 'UPDATE trueup_audit SET seq = NULL, line = replace(line, \'"by":"os"\', \'"by":"xx"\')')
    forge(tmp_path, "DELETE FROM trueup_audit_heads")
    (tmp_path / "heads.txt").unlink()
    with shop(tmp_path) as engine:
        engine.audit.seal()
        problems = engine.audit.verify().problems
    assert any("run.began" in problem for problem in problems)


def test_no_head_follows_one_that_is_not_this_logs(told_folder: Path) -> None:
    """A log that was written anew in the database gets no head after one that is in a file."""
    forge(told_folder, "UPDATE trueup_audit_heads SET root = 'f' || substr(root, 1, 63)")
    with shop(told_folder) as engine:
        engine.resume("p")
        with pytest.raises(DesignProblem, match="not this log's"):
            engine.audit.seal()
        assert engine.run("p").verdict == "in_sync"  # it is told, and hides no answer
    with shop(told_folder, audit={"heads": []}) as engine, pytest.raises(DesignProblem, match="was changed"):
        engine.audit.seal()


@pytest.mark.parametrize("url", ["sqlite_url", "postgres"])
def test_the_database_refuses_changes(request: pytest.FixtureRequest, url: str) -> None:
    with closing(Ledger(request.getfixturevalue(url))) as ledger:
        with ledger.begin() as c:
            ledger.audit.stage(c, "test.done", {}, projection="p")
            ledger.audit.stage(c, "test.done", {}, projection="p")
        auditing = Auditing(ledger, AuditSettings(), SystemClock())
        assert auditing.seal() is not None
        for statement in (
            logged.audit.update().values(line="{}"),
            logged.audit.update().values(seq=None),
            logged.audit.update().values(seq=logged.audit.c.seq + 7),
            logged.audit.delete(),
            logged.audit_heads.update().values(root="x"),
            logged.audit_heads.delete(),
            logged.audit_log.update().values(origin="x"),
            logged.audit_log.delete(),
        ):
            with pytest.raises(DatabaseError, match="only added to"), ledger.engine.begin() as c:
                c.execute(statement)
        assert auditing.verify().problems == []


def test_two_at_once_give_each_line_one_number(postgres: str) -> None:
    with closing(Ledger(postgres)) as ledger:
        for _ in range(5):
            with ledger.begin() as c:
                for _ in range(40):
                    ledger.audit.stage(c, "test.done", {}, projection="p")
        together = threading.Barrier(2)

        def number() -> None:
            together.wait()
            Sequencer(ledger).number()

        threads = [threading.Thread(target=number) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [seq for seq, _ in Sequencer(ledger).lines(0)] == list(range(200))


# --- keys ------------------------------------------------------------------------------------------------------------


def test_signed_heads(tmp_path: Path) -> None:
    drift(tmp_path)
    with shop(tmp_path) as engine:
        verifier = engine.audit.new_key(tmp_path / "key")
        with pytest.raises(ConfigError, match="cannot be written"):
            engine.audit.new_key(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    with shop(tmp_path, audit={"key": str(tmp_path / "key")}) as engine:
        engine.run("p")
        checked = engine.audit.verify(verifier=verifier)
        assert (checked.problems, checked.signed) == ([], 1)
        other = engine.audit.new_key(tmp_path / "other")
        assert engine.audit.verify(verifier=other).problems != []
        with pytest.raises(UsageError, match="verifier"):
            engine.audit.verify(verifier="x")
    heads = tmp_path / "heads.txt"
    heads.write_text(heads.read_text().replace("\n4\n", "\n3\n"))
    with shop(tmp_path, audit={"key": str(tmp_path / "key")}) as engine:
        assert any("not signed" in problem for problem in engine.audit.verify().problems)


def test_a_key_that_others_can_read_or_of_another_log_is_refused(tmp_path: Path) -> None:
    drift(tmp_path)
    with shop(tmp_path) as engine:
        engine.audit.new_key(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    with shop(tmp_path, audit={"key": str(tmp_path / "key")}) as engine, pytest.raises(ConfigError, match="chmod"):
        engine.audit.seal()
    (tmp_path / "key").chmod(0o600)
    with (
        shop(
            tmp_path, audit={"key": str(tmp_path / "key"), "origin": "o"}, ledger=f"sqlite:///{tmp_path}/b.db"
        ) as engine,
        pytest.raises(ConfigError, match=r"key of 'example\.org/shop'"),
    ):
        engine.audit.seal()
    with shop(tmp_path, audit={"key": "PRIVATE+KEY+secret"}) as engine, pytest.raises(ConfigError) as refused:
        engine.audit.seal()
    assert "secret" not in str(refused.value)


def test_a_log_is_never_renamed(told_folder: Path) -> None:
    with (
        shop(told_folder, audit={"origin": "example.org/other"}) as engine,
        pytest.raises(ConfigError, match="renamed"),
    ):
        engine.audit.standing()


# --- personal data ---------------------------------------------------------------------------------------------------


def test_sensitive_values_are_committed_to_and_erased(tmp_path: Path) -> None:
    drift(tmp_path)
    audit, salts, heads = tmp_path / "a.jsonl", tmp_path / "s.jsonl", tmp_path / "heads.txt"
    with shop(tmp_path, sensitive=["email"]) as engine:
        engine.run("p")
        assert CANARY not in json.dumps(told(engine))
        engine.audit.export(audit)
        assert engine.audit.salts(salts) == 16  # four rows, before and after, decided and done
        assert verified(audit, heads, ORIGIN, salts)[0] == 0
        assert engine.erase("p", keys=[{"id": 2}]) == 4
        assert engine.audit.verify().problems == []
        engine.audit.export(audit)
        assert engine.audit.salts(salts) == 12
        assert verified(audit, heads, ORIGIN, salts)[0] == 0
        dump = "\n".join(sqlite3.connect(tmp_path / "ledger.db").iterdump())
        assert dump.count(CANARY) == 3 * dump.count(CANARY) // 3 > 0  # of the other rows
        mine = [row for row in dump.splitlines() if "'[2]'" in row]
        assert mine
        assert not any(CANARY in row for row in mine)
    replaced = [json.loads(line) | {"value": '"mallory@example.org"'} for line in salts.read_text().splitlines()[:1]]
    salts.write_text(json.dumps(replaced[0]) + "\n")
    assert verified(audit, heads, ORIGIN, salts)[0] == 1
    forge(tmp_path, """UPDATE trueup_audit_salts SET value = '"mallory@example.org"'""")
    with shop(tmp_path, sensitive=["email"]) as engine:
        assert any("sensitive value" in problem for problem in engine.audit.verify().problems)


# --- giving out and cutting ------------------------------------------------------------------------------------------


def test_a_part_of_the_log_begins_with_a_frontier(tmp_path: Path) -> None:
    drift(tmp_path)
    audit, heads = tmp_path / "a.jsonl", tmp_path / "heads.txt"
    with shop(tmp_path) as engine:
        for _ in range(3):
            engine.check("p")
        clock = engine.clock
        assert isinstance(clock, SteadyClock)
        middle = clock.at
        engine.check("p")
        whole = engine.audit.export(audit)
        assert engine.audit.export(audit, since=middle) < whole
        assert verified(audit, heads, ORIGIN)[0] == 0
        assert engine.audit.verify(export=audit).problems == []
        kept = heads.read_text().split("\n\n")
        heads.write_text("\n\n".join(kept[-2:]))  # the head at the cut is not kept: nothing vouches for the frontier
        assert verified(audit, heads, ORIGIN)[0] == 1


def test_old_lines_are_dropped_and_the_rest_is_verified_as_before(tmp_path: Path) -> None:
    drift(tmp_path)
    audit, heads = tmp_path / "a.jsonl", tmp_path / "heads.txt"
    with shop(tmp_path) as engine:
        engine.run("p")
        clock = engine.clock
        assert isinstance(clock, SteadyClock)
        middle = clock.at
        engine.check("p")
        count, head = engine.audit.prune(middle)
        assert (count, head.size) == (4, 4)
        with pytest.raises(UsageError, match="no head from before"):
            engine.audit.prune(middle)
        engine.check("p")
        checked = engine.audit.verify()
        assert (checked.problems, checked.first) == ([], 4)
        engine.audit.export(audit)
    assert verified(audit, heads, ORIGIN)[0] == 0


def test_a_node_goes_on_whose_last_head_another_has_dropped(tmp_path: Path) -> None:
    """Each machine has a file of its own, and one that did nothing for a while has old heads."""
    drift(tmp_path)
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    mine, theirs = ({"heads": [f"file:{file}"]} for file in files)
    with shop(tmp_path, audit=mine) as one, shop(tmp_path, audit=theirs) as other:
        other.check("p")
        dropped = other.audit.sequencer.standing().size
        one.check("p")
        one.check("p")
        clock = one.clock
        assert isinstance(clock, SteadyClock)
        _, cut = one.audit.prune(clock.at)
        assert cut.size > dropped
        other.check("p")
        assert other.audit.verify().problems == []
        sizes = [head.size for head, _ in heads_in(files[1])]
        assert sizes == sorted(sizes)
        assert sizes[0] == dropped
        assert sizes[1] == cut.size, "it has missed no head that is kept"
        files[1].write_text(files[1].read_text().split("\n\n")[0].replace(ORIGIN, "elsewhere") + "\n\n")
        with pytest.raises(DesignProblem, match="not this log's"):
            other.audit.seal()


def test_what_only_pruned_lines_refer_to_goes_with_them(tmp_path: Path) -> None:
    """Sensitive values too: nobody could say any more what they were of."""
    drift(tmp_path)
    with shop(tmp_path, sensitive=["email"]) as engine:
        engine.pause("p", reason="long ago: " + "x" * LINE_MAX)
        engine.resume("p")
        engine.run("p")
        clock = engine.clock
        assert isinstance(clock, SteadyClock)
        middle = clock.at
        drift(tmp_path, rows=2)
        engine.pause("p", reason="of late: " + "y" * LINE_MAX)
        engine.resume("p")
        engine.run("p")
        before = salted(engine)
        engine.audit.prune(middle)
        after = salted(engine)
        assert after < before
        assert len(after) == 8  # before- and after-images of two rows, as intended and as they came out
        with engine.ledger.reading() as c:
            kept = list(c.execute(sa.select(logged.audit_aside.c.content)).scalars())
        assert [text[:3] for text in kept] == ["of "]
        assert engine.audit.verify().problems == []


def test_lines_may_refer_to_more_than_one_statement_takes(postgres: str) -> None:
    """Many rows with sensitive values: PostgreSQL takes 65,535 parameters, and a thousand lines name more."""
    lines, each = 700, 100
    told = ["".join(f'\\"hmac\\": \\"{line * each + n:064x}\\"' for n in range(each)) for line in range(lines)]
    about = {"act": "rows.intended", "projection": "p", "run": "r", "at": datetime(2026, 1, 1, tzinfo=UTC)}
    beside = {"salt": "", "value": "", "projection": "p", "key": "", "key_hash": ""}
    gone, kept = (f"{n:064x}" for n in (lines * each - 1, lines * each))
    with closing(Ledger(postgres)) as ledger, ledger.begin() as c:
        c.execute(logged.audit.insert(), [{"seq": seq, "line": line, **about} for seq, line in enumerate(told)])
        c.execute(logged.audit_salts.insert(), [{"commitment": name, **beside} for name in (gone, kept)])
        Sequencer(ledger)._forget_salts(c, lines)
        assert c.execute(sa.select(logged.audit_salts.c.commitment)).scalars().all() == [kept]


def salted(engine: Trueup) -> set[str]:
    with engine.ledger.reading() as c:
        return set(c.execute(sa.select(logged.audit_salts.c.commitment)).scalars())


def test_csv_holds_no_formula(tmp_path: Path) -> None:
    drift(tmp_path)
    with shop(tmp_path) as engine:
        engine.pause("p", reason='=HYPERLINK("http://x")')
        engine.audit.export(tmp_path / "a.csv", form="csv")
        line = engine.audit.line(0)
    assert "'=HYPERLINK" in (tmp_path / "a.csv").read_text()
    assert csv_row(json.loads(line), line)[7].startswith("'=")
