"""Every mistake in a configuration is found before anything is read, and its message names the place and the remedy."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

import trueup
from trueup import ConfigError, Trueup
from trueup.config import load, parse

CANARY = "canary-9d41f7"

APP = """
[databases.app]
url = "sqlite:///app.db"
"""
PROJECTION = """
[projections.p]
source = { database = "app", table = "src" }
target = { database = "app", table = "tgt" }
key = ["id"]
writers = "same_transaction"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with sqlite3.connect(tmp_path / "app.db") as c:
        c.execute("CREATE TABLE src (id INTEGER PRIMARY KEY, n INTEGER)")
        c.execute("CREATE TABLE tgt (id INTEGER PRIMARY KEY, n INTEGER)")
        # Reading it raises: proof that nothing of it was read.
        c.execute("CREATE VIEW bomb AS SELECT abs(-9223372036854775807 - 1) AS id, 1 AS n")
    c.close()
    return tmp_path


def refusal(folder: Path, text: str, environ: dict[str, str] | None = None) -> str:
    """What `load` says of a file with this text."""
    path = folder / "trueup.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path, environ or {})
    assert caught.value.exit_code == 2
    assert CANARY not in str(caught.value)
    # A cause would be printed with the traceback, and may show the input.
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


# --- the file --------------------------------------------------------------------------------------------------------


def test_no_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no .*trueup\.toml; `trueup init` writes one"):
        load(tmp_path / "trueup.toml")


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)


def test_invalid_toml_says_where(tmp_path: Path) -> None:
    words = refusal(tmp_path, "[trueup]\nledger = x\n")
    assert "not valid TOML" in words
    assert "line 2" in words


def test_a_table_twice(tmp_path: Path) -> None:
    assert "not valid TOML" in refusal(tmp_path, APP + APP)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "trueup.toml"
    path.write_bytes("[trueup]\n# é\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot be read.*utf-8"):
        load(path)


def test_a_file_may_begin_with_the_mark_that_some_editors_write(folder: Path) -> None:
    path = folder / "trueup.toml"
    path.write_text(APP + PROJECTION, encoding="utf-8-sig", newline="\r\n")
    assert list(load(path).projections) == ["p"]


def test_an_empty_file_declares_nothing(tmp_path: Path) -> None:
    (tmp_path / "trueup.toml").write_text("")
    config = load(tmp_path / "trueup.toml")
    assert (dict(config.databases), dict(config.projections)) == ({}, {})
    assert config.settings.timezone == "UTC"


# --- wrong keys and values: the place, and the nearest known name ----------------------------------------------------

WRONG = [
    ("[truup]\n", ["unknown key 'truup'", "did you mean 'trueup'?"]),
    ("databases = 5\n", ["[databases]", "[databases.NAME]"]),
    ("[databases]\napp = 5\n", ["[databases.NAME]"]),
    ('[trueup]\nledgr = "x"\n', ["trueup.ledgr", "did you mean 'ledger'?"]),
    ('[databases.app]\nurl = "sqlite:///a.db"\nstatment_timeout = "1s"\n', ["databases.app", "'statement_timeout'?"]),
    ("[databases.app]\n", ["databases.app.url", "is missing"]),
    ("[databases.app]\nurl = 5\n", ["databases.app.url"]),
    (
        '[databases.app]\nurl = "sqlite:///a.db"\nlock_timeout = "soon"\n',
        ["databases.app.lock_timeout", "not a duration"],
    ),
    ('[databases.app]\nurl = "sqlite:///a.db"\nstatement_timeout = 0\n', ["databases.app.statement_timeout"]),
    ('[databases.app]\nurl = "sqlite:///a.db"\nmarkers = "maybe"\n', ["databases.app.markers"]),
    (APP + "[projections.p]\n", ["projections.p.source", "is missing"]),
    (APP + PROJECTION + 'setle = "1s"\n', ["projections.p.setle", "did you mean 'settle'?"]),
    (APP + PROJECTION + "limits = { rowz = 5 }\n", ["projections.p.limits.rowz", "did you mean 'rows'?"]),
    (APP + PROJECTION + 'limits = { share = "lots" }\n', ["projections.p.limits.share", "not a share"]),
    (APP + PROJECTION + 'limits = { share = "120%" }\n', ["projections.p.limits.share", "between 0% and 100%"]),
    (APP + PROJECTION + "limits = { rows = -1 }\n", ["projections.p.limits.rows"]),
    (APP + PROJECTION + "limits = { rows = 1.5 }\n", ["projections.p.limits.rows"]),
    (APP + PROJECTION + 'settle = "ten"\n', ["projections.p.settle", "write it like '10s'"]),
    (APP + PROJECTION + "settle = -1\n", ["projections.p.settle", "negative"]),
    (APP + PROJECTION + "settle = nan\n", ["projections.p.settle"]),
    (APP + PROJECTION + "settle = inf\n", ["projections.p.settle"]),
    (APP + PROJECTION + 'columns = ["n", "n"]\n', ["projections.p", "`columns` names a column twice"]),
    (APP + PROJECTION + "columns = 5\n", ["projections.p.columns"]),
    (APP + PROJECTION + 'schedule = "every 30s"\n', ["projections.p.schedule: write a table", "{ KEY = … }", "cron"]),
    (APP + PROJECTION + 'changes = { source = "at" }\n', ["changes.source: write a table", "column, columns, table"]),
    (APP + PROJECTION + 'columns = ["id"]\n', ["projections.p", "'id' is in `key` and in `columns`"]),
    (APP + PROJECTION + 'on_extra = "reset"\n', ["projections.p", "needs `absent`"]),
    (APP + PROJECTION + 'on_extra = "remove"\n', ["projections.p.on_extra", "'reset', 'delete' or 'report'"]),
    (APP + PROJECTION + "absent = { id = 0 }\n", ["projections.p", "not for the key"]),
    (APP + PROJECTION.replace('"same_transaction"', '"cron"'), ["projections.p.writers", "'same_transaction'"]),
    (APP + PROJECTION.replace('["id"]', "[]"), ["projections.p.key"]),
    (APP + PROJECTION.replace("[projections.p]", '[projections."a b"]'), ["projections.a b.name"]),
    (
        APP + PROJECTION.replace('table = "src"', 'tabel = "src"'),
        ["projections.p.source.tabel", "did you mean 'table'?"],
    ),
    (
        APP + PROJECTION.replace('table = "src"', 'table = "src", query = "SELECT 1"'),
        ["projections.p.source", "either `table`, `query`, "],
    ),
    (APP + PROJECTION.replace(', table = "src"', ""), ["projections.p.source", "either `table`, `query`, "]),
    (
        APP + PROJECTION.replace('{ database = "app", table = "src" }', '{ database = "apq", table = "src" }'),
        ["projections.p.source.database", "'apq' is not declared", "did you mean 'app'?"],
    ),
    (PROJECTION, ["projections.p.source.database", "'app' is not declared", "known: none"]),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_named(tmp_path: Path, text: str, said: list[str]) -> None:
    words = refusal(tmp_path, text)
    for part in said:
        assert part in words


def test_a_message_is_one_line_about_one_thing(tmp_path: Path) -> None:
    for text, _ in WRONG:
        words = refusal(tmp_path, text)
        assert "\n" not in words
        assert "pydantic" not in words
        assert "For further information" not in words


# --- environment variables -------------------------------------------------------------------------------------------


def test_variables_are_put_in_everywhere(tmp_path: Path) -> None:
    text = APP.replace("app.db", "${FILE}") + PROJECTION.replace('["id"]', '["${KEY}"]')
    (tmp_path / "trueup.toml").write_text(text)
    config = load(tmp_path / "trueup.toml", {"FILE": "other.db", "KEY": "pk"})
    assert config.databases["app"].url.get_secret_value().endswith("/other.db")
    assert config.projections["p"].key == ("pk",)


def test_a_missing_variable_is_named_with_its_place(tmp_path: Path) -> None:
    words = refusal(tmp_path, '[databases.app]\nurl = "postgresql://a:${APP_PASSWORD}@h/d"\n', {"OTHER": CANARY})
    assert "databases.app.url" in words
    assert "'APP_PASSWORD'" in words
    words = refusal(tmp_path, APP + PROJECTION.replace('["id"]', '["${KEY}"]'))
    assert "projections.p.key" in words


def test_an_empty_variable_is_a_value(tmp_path: Path) -> None:
    (tmp_path / "trueup.toml").write_text('[databases.app]\nurl = "sqlite:///a${NOTHING}.db"\n')
    assert load(tmp_path / "trueup.toml", {"NOTHING": ""}).databases["app"].url.get_secret_value().endswith("/a.db")


# --- paths -----------------------------------------------------------------------------------------------------------


def test_relative_files_are_relative_to_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    home = tmp_path / "home"
    home.mkdir()
    (home / "trueup.toml").write_text(
        '[trueup]\nledger = "sqlite:///../led.db"\n'
        '[databases]\na = { url = "sqlite:///data/a.db" }\nb = { url = "sqlite:////abs/b.db" }\n'
        'c = { url = "sqlite+pysqlite:///c.db" }\nd = { url = "postgresql://u@h/d" }\n'
    )
    config = load(Path("../home/trueup.toml"))
    urls = {name: database.url.get_secret_value() for name, database in config.databases.items()}
    assert urls["a"] == f"sqlite:///{home}/data/a.db"
    assert urls["b"] == "sqlite:////abs/b.db"
    assert urls["c"] == f"sqlite+pysqlite:///{home}/c.db"
    assert urls["d"] == "postgresql://u@h/d"
    with trueup.load("../home/trueup.toml") as engine:
        assert engine.ledger_url == f"sqlite:///{tmp_path}/led.db"


def test_the_default_ledger_is_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "trueup.toml").write_text("")
    with trueup.load(tmp_path / "trueup.toml") as engine:
        assert engine.ledger_url == f"sqlite:///{tmp_path}/trueup.db"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_memory_is_seen_by_nobody_else(tmp_path: Path, url: str) -> None:
    """Neither a database nor a ledger, and no file of that name."""
    (tmp_path / "trueup.toml").write_text(f'[databases.app]\nurl = "{url}"\n' + PROJECTION)
    with trueup.load(tmp_path / "trueup.toml") as engine, pytest.raises(ConfigError, match=r"databases\.app.*memory"):
        engine.check("p")
    (tmp_path / "trueup.toml").write_text(f'[trueup]\nledger = "{url}"\n')
    with trueup.load(tmp_path / "trueup.toml") as engine, pytest.raises(ConfigError, match=r"trueup\.ledger.*memory"):
        engine.runs()
    assert [path.name for path in tmp_path.iterdir()] == ["trueup.toml"]


# --- against the databases: found before anything is read ------------------------------------------------------------


def engine(folder: Path, text: str) -> Trueup:
    (folder / "trueup.toml").write_text(text, encoding="utf-8")
    return trueup.load(folder / "trueup.toml")


def sides(source: str = 'table = "src"', target: str = 'table = "tgt"', rest: str = "") -> str:
    return APP + (
        f'[projections.p]\nsource = {{ database = "app", {source} }}\ntarget = {{ database = "app", {target} }}\n'
        f'key = ["id"]\nwriters = "same_transaction"\n{rest}'
    )


#: A query that raises as soon as a row of it is read.
BOMB = 'query = "SELECT id, n FROM bomb"'

LATE = [
    # command, declaration, what is said
    ("check", sides(source='table = "scr"'), ["there is no table 'scr'", "did you mean 'src'?"]),
    ("check", sides(source=BOMB).replace('["id"]', '["idd"]'), ["projections.p.key", "'idd'", "did you mean 'id'?"]),
    ("check", sides(source=BOMB, rest='columns = ["m"]\n'), ["projections.p.columns", "'m'"]),
    ("check", sides(source=BOMB, rest="absent = { m = 0 }\n"), ["projections.p.absent", "'m'"]),
    ("check", sides(source=BOMB, rest='sensitive = ["m"]\n'), ["projections.p.sensitive", "'m'"]),
    ("check", sides(source='query = ""'), ["projections.p.source.query", "empty"]),
    ("check", sides(source='query = "DELETE FROM src"'), ["projections.p.source.query", "DELETE", "give one SELECT"]),
    ("check", sides(source='query = "SELECT 1 AS id; SELECT 2"'), ["projections.p.source.query", "2 statements"]),
    ("check", sides(target='query = "UPDATE tgt SET n = 1"'), ["projections.p.target.query", "UPDATE"]),
    ("check", sides(source='query = "SELECT id FROM nowhere"'), ["p.source.query", "nowhere"]),
    ("check", sides(source='query = "SELEC id FROM src"'), ["p.source.query"]),
    ("check", sides(source='query = "SELECT id FROM src) x; DELETE FROM src; --"'), ["p.source.query"]),
    ("run", sides(source=BOMB, target='query = "SELECT id, n FROM tgt"'), ["projections.p.target", "only a table"]),
    ("run", sides(source=BOMB, target='table = "calm"'), ["projections.p.target", "only a table"]),
    ("run", sides(source=BOMB).replace('writers = "same_transaction"', ""), ["projections.p.writers"]),
    ("plan", sides(source=BOMB).replace('writers = "same_transaction"', ""), ["projections.p.writers"]),
    ("run", sides(source=BOMB, target='table = "loose"'), ["no unique index", "CREATE UNIQUE INDEX"]),
]


@pytest.mark.parametrize(("command", "text", "said"), LATE, ids=range(len(LATE)))
def test_what_only_the_database_can_tell(folder: Path, command: str, text: str, said: list[str]) -> None:
    with sqlite3.connect(folder / "app.db") as c:
        c.execute("CREATE TABLE loose (id INTEGER, n INTEGER)")
        c.execute("CREATE VIEW calm AS SELECT id, n FROM tgt")
        c.execute("INSERT INTO src VALUES (1, 1)")
    c.close()
    with engine(folder, text) as declared, pytest.raises(ConfigError) as caught:
        getattr(declared, command)("p")
    for part in said:
        assert part in str(caught.value)
    # Nothing was begun, and nothing changed.
    with sqlite3.connect(folder / "app.db") as c:
        assert c.execute("SELECT count(*) FROM src").fetchone() == (1,)
    c.close()
    assert not (folder / "trueup.db").exists()


def test_the_bomb_goes_off_when_it_is_read(folder: Path) -> None:
    """Else the tests above would prove nothing."""
    with sqlite3.connect(folder / "app.db") as c:
        c.execute("INSERT INTO src VALUES (1, 1)")
    c.close()
    with engine(folder, sides(source=BOMB)) as declared:
        report = declared.check("p")
    assert report.verdict == "inconclusive"
    assert "integer overflow" in report.to_json_text()


def test_a_database_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with engine(tmp_path, sides()) as declared, pytest.raises(trueup.TrueupError, match=r"there is no file .*app\.db"):
        declared.check("p")
    assert not (tmp_path / "app.db").exists()


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "app.db").write_text("not a database at all, not even a bit of one")
    with engine(tmp_path, sides()) as declared, pytest.raises(trueup.TrueupError) as caught:
        declared.check("p")
    assert caught.value.exit_code == 2


def test_a_ledger_that_cannot_be(folder: Path) -> None:
    for url, words in (
        ("sqlite:///nowhere/led.db", "there is no directory"),
        ("mysql://h/d", "the ledger lives in"),
        ("no url", r"trueup\.ledger"),
    ):
        with engine(folder, f'[trueup]\nledger = "{url}"\n' + sides()) as declared:
            with pytest.raises(trueup.TrueupError, match=words) as caught:
                declared.check("p")
            assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "url",
    [
        f"nosuch://app:{CANARY}@localhost/app",
        f"://{CANARY}",
        CANARY,
        f"postgresql://app:{CANARY}@localhost:port/app",
        f"postgresql://app:{CANARY}@127.0.0.1:1/app",
        f"postgresql+nosuch://app:{CANARY}@localhost/app",
        f"sqlite://app:{CANARY}@localhost/app.db",
    ],
)
def test_a_url_that_cannot_be_is_two_and_keeps_its_password(folder: Path, url: str) -> None:
    with engine(folder, sides().replace("sqlite:///app.db", url)) as declared:
        with pytest.raises(trueup.TrueupError) as caught:
            declared.check("p")
        assert caught.value.exit_code == 2
        assert "databases.app" in str(caught.value)
        assert CANARY not in str(caught.value)


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_a_password_is_shown_nowhere(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """SQLite takes no password, but a query parameter does for the proof: it is a secret part of a URL that works."""
    other = f'[databases.other]\nurl = "postgresql://app:{CANARY}@127.0.0.1:1/app"\n'
    with sqlite3.connect(folder / "app.db") as c:
        c.execute("INSERT INTO src VALUES (1, 1)")
    c.close()
    with engine(folder, other + sides()) as declared:
        shown = [declared.run("p"), declared.status(), declared.explain("p"), declared.databases, declared.projections]
        shown += [declared, declared.runs(), declared.drift("p")]
        with pytest.raises(trueup.TrueupError) as caught:
            declared._adapter("other").describe(declared.projections["p"].source)
        shown += [caught.value, caught.value.__cause__]
    assert CANARY not in repr(shown) + "".join(map(str, shown))
    assert CANARY not in "".join(capfd.readouterr())
    for path in folder.iterdir():
        if path.name != "trueup.toml":
            assert CANARY.encode() not in path.read_bytes()


def test_a_password_of_the_ledger_is_in_no_repr(tmp_path: Path) -> None:
    data: dict[str, Any] = {"trueup": {"ledger": f"postgresql://led:{CANARY}@127.0.0.1:1/led"}}
    config = parse(data, path=tmp_path / "trueup.toml", environ={})
    assert CANARY not in repr(config) + str(config) + config.settings.model_dump_json()
    with Trueup(databases={}, projections=[], ledger=data["trueup"]["ledger"]) as declared:
        with pytest.raises(trueup.TrueupError) as caught:
            declared.runs()
        assert caught.value.exit_code == 2
        assert CANARY not in f"{caught.value}{caught.value!r}{declared!r}"


def test_a_password_does_not_change_the_definition(folder: Path) -> None:
    """It is rotated; and a fingerprint of it would be a thing to guess it by."""

    def definition(password: str) -> str:
        text = sides().replace("sqlite:///app.db", f"postgresql://app:{password}@h/d")
        with engine(folder, text) as declared:
            return declared.definition("p")

    assert definition("one") == definition("two")


# --- in Python -------------------------------------------------------------------------------------------------------


def test_the_same_in_python(folder: Path) -> None:
    side = trueup.Side(database="app", table="src")
    named = trueup.Projection(name="p", source=side, target=side, key=("id",))
    with pytest.raises(ConfigError, match="needs a `name`"):
        Trueup(databases={"app": "sqlite:///x.db"}, projections=[named.model_copy(update={"name": ""})])
    with pytest.raises(ConfigError, match=r"projections\.p\.source\.database: 'app' is not declared"):
        Trueup(databases={}, projections=[named])
    with pytest.raises(trueup.TrueupError, match=r"did you mean 'p1'\?"):
        Trueup(databases={"app": "sqlite:///x.db"}, projections={"p1": named}).check("p")


def test_two_projections_of_one_name_in_python_are_refused() -> None:
    side = trueup.Side(database="app", table="src")
    one = trueup.Projection(name="p", source=side, target=side, key=("id",))
    with pytest.raises(ConfigError, match="p"):
        Trueup(databases={"app": "sqlite:///x.db"}, projections=[one, one])
