"""What stands in Groonga's records, and what a table has to be; broken answers; writers in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import pytest

from tests.conformance.beside import Beside
from tests.faults.between import Answer, between
from tests.live.harness import Db, around
from tests.searching import groonga_do
from trueup import Side, Trueup, Verdict, diff
from trueup.adapters import _documents, connect
from trueup.adapters import groonga as adapter
from trueup.core.guarantee import Guarantee
from trueup.core.side import Database
from trueup.core.states import Outcome
from trueup.errors import BrokenRead, ConfigError, ConnectionFailed, TrueupError


class Engine(Beside):
    name = "search"

    def records(
        self, key: str = "Int64", *, flags: str = "TABLE_PAT_KEY", how: dict[str, str] | None = None, **columns: str
    ) -> None:
        groonga_do(self.url, "table_create", name="Posts", flags=flags, key_type=key, **(how or {}))
        for name, type_ in columns.items():
            groonga_do(self.url, "column_create", table="Posts", name=name, flags="COLUMN_SCALAR", type=type_)

    def load(self, *rows: dict[str, Any]) -> None:
        groonga_do(self.url, "load", list(rows), table="Posts")

    def held(self, *names: str) -> list[list[Any]]:
        found = groonga_do(
            self.url, "select", table="Posts", output_columns=",".join(names), sort_keys="_key", limit=-1
        )
        return list(found[0][2:])

    def app(self, **declared: Any) -> Trueup:
        return self.between({"table": "Posts", "columns": {"id": "_key"}}, **declared)


@pytest.fixture
def engine(groonga: str, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(tmp_path, groonga)
    yield made
    made.close()


def test_every_kind_is_written_as_it_is_read(engine: Engine) -> None:
    engine.table(
        "id INTEGER PRIMARY KEY, n BIGINT, small BIGINT, title TEXT, f DOUBLE, b BOOLEAN, t TIMESTAMP, author TEXT",
        "-3, 9007199254740993, -128, 'a \"q\" \\ \n é', 0.30000000000000004, 1, '2026-11-28 10:00:00.123457', 'x'",
        "4, -1, 0, '', 1e300, 0, '1969-12-31 23:59:59.5', 'y z'",
    )
    groonga_do(engine.url, "table_create", name="Authors", flags="TABLE_HASH_KEY", key_type="ShortText")
    engine.records(n="Int64", small="Int8", title="LongText", f="Float", b="Bool", t="Time", author="Authors")
    engine.load({"_key": -3, "n": 1, "title": "x", "f": 0.3, "author": "x"}, {"_key": 9})
    app = engine.app()
    assert app.explain("p").promise.guarantee is Guarantee.CONVERGENT
    report = app.run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 3)
    assert app.check("p").verdict is Verdict.IN_SYNC
    assert engine.held("_key", "n", "b") == [[-3, 9007199254740993, True], [4, -1, False]]
    engine.db.sql("UPDATE src SET f = 0.3 WHERE id = -3")  # its JSON answers are the same for both
    assert app.check("p").different == 1


def test_control_json_rounds_floats(engine: Engine) -> None:
    engine.records(f="Float")
    engine.load({"_key": 1, "f": 0.30000000000000004})
    assert engine.held("f") == [[0.3]]


@pytest.mark.parametrize(("type_", "value"), [("Int32", 2**31), ("UInt8", -1), ("Int8", 128)])
def test_a_number_that_would_wrap_is_not_sent(engine: Engine, type_: str, value: int) -> None:
    engine.table("id INTEGER PRIMARY KEY, n BIGINT", f"1, {value}", "2, 5")
    engine.records(n=type_)
    report = engine.app().run("p")
    assert (report.repaired, report.left) == (1, 1)
    assert engine.held("_key", "n") == [[2, 5]]


@pytest.mark.parametrize(
    ("key", "type_", "value", "why"),
    [
        ("Int32", "BIGINT", "3000000000", "does not fit Int32"),
        ("ShortText", "TEXT", "'a' || char(0) || 'b'", "cannot hold the character NUL"),
        ("ShortText", "TEXT", "''", "was refused"),
    ],
)
def test_a_key_that_no_record_can_have_is_one_row_that_is_told_of(
    engine: Engine, key: str, type_: str, value: str, why: str
) -> None:
    engine.table(f"id {type_} PRIMARY KEY, n BIGINT", f"{value}, 5", "'7', 5")
    engine.records(key, n="Int64")
    app = engine.app()
    assert app.check("p").missing == 2
    report = app.run("p")
    assert (report.repaired, report.left) == (1, 1)
    assert why in app.drift("p")[0].reason
    assert app.check("p").missing == 1


def test_a_float_that_is_no_number_is_one_row_that_is_told_of(engine: Engine) -> None:
    engine.table("id INTEGER PRIMARY KEY, n DOUBLE", "1, 9e999", "2, 5")
    engine.records(n="Float")
    app = engine.app()
    report = app.run("p")
    assert (report.repaired, report.left) == (1, 1)
    assert "inf is no number that can be sent" in app.drift("p")[0].reason


def test_a_record_that_is_refused_takes_nothing_from_those_that_were_written_before(engine: Engine) -> None:
    engine.table("id TEXT PRIMARY KEY, n BIGINT", "'a', 5", f"'b{'x' * 5000}', 5", "'c', 5")
    engine.records("ShortText", n="Int64")
    app = engine.app()
    report = app.run("p")
    assert (report.repaired, report.left, engine.held("_key")) == (2, 1, [["a"], ["c"]])
    assert app.rollback(report.run).repaired == 2
    assert engine.held("_key") == []


def test_a_key_in_a_spelling_of_its_own_gets_no_second_record(engine: Engine, postgres: str) -> None:
    key = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    engine.db = Db(postgres)
    engine.table("id uuid PRIMARY KEY, n bigint", f"'{key}', 5")
    engine.records("ShortText", n="Int64")
    engine.load({"_key": key.upper(), "n": 4})
    with pytest.raises(TrueupError, match=rf"'{key.upper()}' in 'Posts' is a uuid in a spelling of its own.*'{key}'"):
        engine.app().run("p")
    assert engine.held("_key", "n") == [[key.upper(), 4]]


def test_a_null_that_is_zero_is_written_as_such(engine: Engine) -> None:
    engine.table("id INTEGER PRIMARY KEY, n BIGINT, t TEXT", "1, NULL, NULL", "2, NULL, 'x'")
    engine.records(n="Int64", t="ShortText")
    engine.load({"_key": 2, "n": 4, "t": "y"})
    report = engine.app(nulls={"n": "zero", "t": "zero"}).run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 2)
    assert engine.held("_key", "n", "t") == [[1, 0, ""], [2, 0, "x"]]


def test_control_it_wraps(engine: Engine) -> None:
    engine.records(n="Int32")
    engine.load({"_key": 1, "n": 2**31})
    assert engine.held("n") == [[-(2**31)]]


def test_there_is_no_null(engine: Engine) -> None:
    engine.table("id INTEGER PRIMARY KEY, n BIGINT", "1, NULL", "2, NULL")
    engine.records(n="Int64")
    engine.load({"_key": 1})
    report = engine.app().run("p")
    assert (report.repaired, report.left) == (0, 2)
    report = engine.app(nulls={"n": "zero"}).check("p")
    assert (report.different, report.missing) == (0, 1)


@pytest.mark.parametrize("flags", ["TABLE_PAT_KEY", "TABLE_HASH_KEY", "TABLE_DAT_KEY"])
def test_keys_of_text_in_pages(engine: Engine, flags: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "PAGE", 7)
    keys = [f"k{number}" for number in range(30)] + ['"', "\\", "é", "ß", "\U0001d538", "A", "a b"]
    engine.table("id TEXT PRIMARY KEY, n BIGINT", *("'" + key.replace("'", "''") + "', 1" for key in keys))
    engine.records("ShortText", flags=flags, n="Int64")
    engine.load(*({"_key": key, "n": 1} for key in keys[1:]))
    app = engine.app()
    assert app.check("p").missing == 1
    assert app.run("p").repaired == 1
    report = app.check("p")
    assert (report.verdict, report.target_rows) == (Verdict.IN_SYNC, len(keys))


def test_a_source_too_and_on_the_command_line(engine: Engine) -> None:
    engine.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 1")
    engine.records(n="Int64")
    engine.load({"_key": 1, "n": 2})
    assert engine.app(reverse=True).run("p").repaired == 1
    assert engine.db.sql("SELECT n FROM src") == [(2,)]
    report = diff(f"{engine.db.url}#src", f"{engine.url}#Posts", key="id", renamed={"id": "_key"})
    assert report.verdict is Verdict.IN_SYNC


def test_keys_that_a_normalizer_changes_are_only_reported(engine: Engine) -> None:
    engine.table("id TEXT PRIMARY KEY, n BIGINT", "'Ab', 1")
    engine.records("ShortText", how={"normalizer": "NormalizerAuto"}, n="Int64")
    promise = engine.app().explain("p").promise
    assert promise.guarantee is Guarantee.REPORT_ONLY
    assert "NormalizerAuto" in promise.reasons[0]


def test_what_cannot_be_a_side(engine: Engine) -> None:
    engine.table("id INTEGER PRIMARY KEY, n BIGINT")
    with pytest.raises(ConfigError, match="there is no table 'Posts'"):
        engine.app().check("p")
    groonga_do(engine.url, "table_create", name="Posts", flags="TABLE_NO_KEY")
    with pytest.raises(ConfigError, match="has no key"):
        engine.app().check("p")
    with pytest.raises(ConfigError, match="not of the form"):
        connect("search", Database(url="groonga+ftp://x")).describe(Side(database="search", table="Posts"))
    with closing(connect("search", Database(url="groonga://127.0.0.1:1"))) as gone, pytest.raises(ConnectionFailed):
        gone.describe(Side(database="search", table="Posts"))


# --- broken answers ---------------------------------------------------------------------------------------------------


def packed(change: Callable[[Any], Any]) -> Callable[[bytes], Answer]:
    return lambda body: (200, msgpack.packb(change(msgpack.unpackb(body))))


def select(hits: int, rows: Any) -> Callable[[Any], Any]:
    """An answer of a select with other contents."""
    return lambda told: [told[0], [[[hits], told[1][0][1], *rows(told[1][0][2:])]]]


BROKEN: dict[str, tuple[Callable[[bytes], Answer], type[TrueupError]]] = {
    "no records of those that match": (packed(select(5, lambda rows: [])), BrokenRead),
    "one record fewer": (packed(select(5, lambda rows: rows[1:])), BrokenRead),
    "in another order": (packed(select(5, lambda rows: rows[::-1])), BrokenRead),
    "a record twice": (packed(select(5, lambda rows: [rows[0], *rows[:-1]])), BrokenRead),
    "a column fewer": (
        packed(lambda told: [told[0], [[told[1][0][0], told[1][0][1][:1], *([row[0]] for row in told[1][0][2:])]]]),
        BrokenRead,
    ),
    "a head without a body": (packed(lambda told: told[:1]), BrokenRead),
    "an error": (packed(lambda told: [[-22, 0, 0, "invalid"]]), TrueupError),
    "a page of another program": (lambda body: (200, b"<html>"), BrokenRead),
    "nothing": (lambda body: (200, b""), BrokenRead),
    "cut in the middle": (lambda body: (200, body[:-9]), BrokenRead),
    "no connection": (lambda body: None, TrueupError),
    "no gateway": (lambda body: (502, b"bad gateway"), TrueupError),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_read_is_no_empty_table(engine: Engine, what: str) -> None:
    answer, error = BROKEN[what]
    engine.table("id INTEGER PRIMARY KEY, n BIGINT", *(f"{number}, 1" for number in range(5)))
    engine.records(n="Int64")
    engine.load(*({"_key": number, "n": 1} for number in range(5)))
    with between(engine.url) as (proxy, engine.url):
        app = engine.app(reverse=True)
        assert app.check("p").verdict is Verdict.IN_SYNC
        proxy.after = lambda path, status, body: answer(body) if "/select" in path else (status, body)
        with pytest.raises(error):
            app.run("p")
    assert len(engine.db.sql("SELECT * FROM src")) == 5


# --- writers in between -----------------------------------------------------------------------------------------------


def test_a_write_in_between_is_seen_by_its_value_and_one_that_came_back_is_not(engine: Engine) -> None:
    engine.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 5", "2, 5")
    engine.records(n="Int64")
    engine.load({"_key": 1, "n": 3}, {"_key": 2, "n": 3})

    def deliver() -> None:
        engine.db.sql("UPDATE src SET n = 7")
        engine.load({"_key": 1, "n": 7}, {"_key": 2, "n": 7}, {"_key": 2, "n": 3})

    with around(_documents, "read_source", after=deliver):
        app = engine.app()
        report = app.run("p")
    outcomes = {outcome.key[0]: outcome.outcome for outcome in app.outcomes(report.run)}
    assert outcomes[1] is Outcome.SUPERSEDED
    assert engine.held("_key", "n")[0] == [1, 7]
    # Of 2, which was 3, 7 and 3 again, an older value was written, and seen in the same run or left to the next.
    assert (engine.held("_key", "n")[1] == [2, 5]) is (report.left > 0 or report.in_flight > 0)


def test_a_missing_record_that_is_delivered_meanwhile_stays(engine: Engine) -> None:
    engine.table("id INTEGER PRIMARY KEY, n BIGINT", "1, 5")
    engine.records(n="Int64")
    with around(
        _documents,
        "read_source",
        after=lambda: (engine.db.sql("UPDATE src SET n = 7"), engine.load({"_key": 1, "n": 7})),
    ):
        engine.app().run("p")
    assert engine.held("_key", "n") == [[1, 7]]


def test_an_extra_record_that_changes_meanwhile_is_not_deleted(engine: Engine) -> None:
    engine.table("id INTEGER PRIMARY KEY, n BIGINT", "2, 2")
    engine.records(n="Int64")
    engine.load({"_key": 1, "n": 3}, {"_key": 2, "n": 2})

    def write() -> None:
        engine.db.sql("INSERT INTO src VALUES (1, 6)")
        engine.load({"_key": 1, "n": 6})

    with around(_documents, "read_source", after=write):
        engine.app().run("p")
    assert engine.held("_key", "n") == [[1, 6], [2, 2]]
