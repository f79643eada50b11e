"""status, runs, drift, explain, init, and how mistakes on the command line are answered."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from typing import Any

import pytest

from tests.cli.shop import PATIENCE_S, Shop

SOURCE = [(1, 10), (2, 20), (3, 30)]
TARGET = [(1, 10), (2, 99), (4, 40)]


# --- what is known ---------------------------------------------------------------------------------------------------


def test_status_from_never_to_repaired(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)

    def status() -> dict[str, Any]:
        (row,) = shop.run("status", "--json").json["projections"]
        assert isinstance(row, dict)
        return row

    assert (status()["state"], status()["known_drift"]) == ("new", 0)
    shop.run("check")
    seen = status()
    assert (seen["state"], seen["verdict"], seen["known_drift"]) == ("done", "drift", 3)
    assert seen["oldest_drift"]
    shop.declare(on_extra="delete")
    shop.run("run")
    seen = status()
    assert (seen["verdict"], seen["known_drift"]) == ("repaired", 0)


def test_status_tells_how_old_the_oldest_data_are(shop: Shop) -> None:
    def age() -> tuple[Any, Any]:
        (row,) = shop.run("status", "--json").json["projections"]
        return row["verified"], row["late_seconds"]

    shop.declare(fresh="6h")
    shop.fill(SOURCE, SOURCE)
    assert age() == (None, None)
    assert "never verified" in shop.run("status").out
    shop.run("check", "p", "--key", "id=1")
    assert age() == (None, None), "a look at keys verifies no part"
    shop.run("check")
    verified, late = age()
    assert verified is not None
    assert late == 0
    assert "within 6 h" in shop.run("status").out
    shop.declare(fresh="1ms")
    assert age()[0] == verified, "the objective decides no result"
    assert "missed by" in shop.run("status").out
    shop.fill([], SOURCE)
    assert shop.run("check").code == 4, "the source has collapsed"
    assert age()[0] == verified
    shop.fill(SOURCE, SOURCE)
    shop.run("check")
    assert age()[0] > verified


def test_status_of_a_name(shop: Shop) -> None:
    shop.declare("q")
    assert [row["projection"] for row in shop.run("status", "q", "--json").json["projections"]] == ["q"]
    assert len(shop.run("status", "--json").json["projections"]) == 2
    wrong = shop.run("status", "pp")
    assert wrong.code == 2
    assert "did you mean 'p'?" in wrong.err


def test_runs_newest_first(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    assert shop.run("runs").out.strip() == "no run yet"
    for command in ("check", "plan", "run"):
        shop.run(command, "p")
    rows = shop.run("runs", "--json").json["runs"]
    assert [row["command"] for row in rows] == ["run", "plan", "check"]
    assert [(row["verdict"], row["drift"], row["repaired"]) for row in rows] == [
        ("drift", 3, 2),
        ("drift", 3, 0),
        ("drift", 3, 0),
    ]
    assert [row["command"] for row in shop.run("runs", "p", "--limit", "1", "--json").json["runs"]] == ["run"]
    assert shop.run("runs", "pp").code == 2


def test_drift_is_what_is_wrong_now(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    assert shop.run("drift", "p").code == 0
    shop.run("check")
    shown = [line.split() for line in shop.run("drift", "p").out.splitlines() if "id=" in line]
    assert ["different", "id=2", "n=20", "n=99"] in [row[:4] for row in shown]  # and no column that is alike
    assert ["missing", "id=3"] in [row[:2] for row in shown]
    ran = shop.run("drift", "p", "--json")
    assert ran.code == 1
    assert {row["kind"] for row in ran.json["drift"]} == {"missing", "extra", "different"}
    assert len(shop.run("drift", "p", "--rows", "2", "--json").json["drift"]) == 2
    # A look at one key that is right now removes that one and no other.
    shop.sql("UPDATE tgt SET n = 20 WHERE id = 2")
    shop.run("check", "p", "--key", "id=2")
    assert {row["kind"] for row in shop.run("drift", "p", "--json").json["drift"]} == {"missing", "extra"}
    shop.run("run")
    ran = shop.run("drift", "p", "--json")
    assert [row["kind"] for row in ran.json["drift"]] == ["extra"]
    assert ran.json["drift"][0]["reason"]


def test_drift_keeps_its_age(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    shop.run("check")
    shop.sql("UPDATE trueup_drift SET first_seen = '2020-01-01 00:00:00.000000'", database="trueup")
    shop.run("check")
    rows = shop.run("drift", "p", "--json").json["drift"]
    assert all(str(row["since"]).endswith("d ago") or "2020" in str(row["since"]) for row in rows)


def test_explain_speaks_of_one_snapshot_where_there_is_one(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    assert "one snapshot covers both sides" in shop.run("explain", "p").out
    shop.databases["other"] = shop.databases["app"]
    shop.declare(source={"database": "other", "table": "src"}, settle=0)
    assert "a difference counts as soon as it is seen" in shop.run("explain", "p").out


def test_explain_says_all_of_it_and_reads_nothing(shop: Shop) -> None:
    shop.declare(
        source={"database": "app", "query": "SELECT id, n, abs(-9223372036854775807 - 1) AS email FROM src"},
        columns=["n"],
    )
    shop.fill(SOURCE, TARGET)
    told = shop.run("explain", "p", "--json").json
    assert told["projection"] == "p"
    assert told["key"] == {"id": "integer"}
    assert list(told["columns"]) == ["n"]
    assert told["guarantee"] == "EXACT"
    assert told["protocol"] == "exclusive"
    assert told["settle_seconds"] == 0
    assert told["policies"] == {"missing": "insert", "extra": "report", "different": "update"}
    for name in ("strategy", "access_path", "segments", "reasons", "limits"):
        assert told[name]
    assert not (shop.folder / "trueup.db").exists()
    text = shop.run("explain", "p").out
    for word in ("key", "columns", "strategy", "guarantee", "EXACT", "policies", "limits"):
        assert word in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"writers": "increments"}, "increment"),
        ({"target": {"database": "app", "table": "view"}}, "only a table"),
        ({"target": {"database": "app", "table": "loose"}}, "CREATE UNIQUE INDEX"),
    ],
)
def test_explain_says_why_nothing_can_be_repaired(shop: Shop, changes: dict[str, Any], words: str) -> None:
    shop.sql("CREATE VIEW view AS SELECT * FROM tgt", "CREATE TABLE loose (id INTEGER, n INTEGER)")
    shop.declare(**changes)
    told = shop.run("explain", "p", "--json").json
    assert told["guarantee"] == "REPORT-ONLY"
    assert any(words in reason for reason in told["reasons"])


# --- init ------------------------------------------------------------------------------------------------------------


def test_init_writes_a_file_that_can_be_used_as_it_is(shop: Shop) -> None:
    (shop.folder / "trueup.toml").unlink()
    ran = shop.run("init", "sqlite:///app.db")
    assert ran.code == 0
    assert "src: [id], n, email" in ran.out
    text = (shop.folder / "trueup.toml").read_text()
    assert "#   tgt: [id], n, email" in text
    assert tomllib.loads(text)["databases"]["app"]["url"] == "sqlite:///app.db"
    status = shop.run("status")
    assert status.code == 0
    assert "no projection is declared" in status.out


def test_the_example_of_init_is_right_once_the_marks_are_taken_away(shop: Shop) -> None:
    (shop.folder / "trueup.toml").unlink()
    shop.run("init", "sqlite:///app.db")
    text = (shop.folder / "trueup.toml").read_text()
    example = text.partition("# [projections.")
    lines = [line.removeprefix("#").removeprefix(" ") for line in (example[1] + example[2]).splitlines()]
    lines = lines[: next(at for at, line in enumerate(lines) if line.startswith("then:"))]
    shop.sql(
        "CREATE TABLE post_likes (post_id INTEGER, user_id INTEGER, active INTEGER)",
        "CREATE TABLE post_like_counts (post_id INTEGER PRIMARY KEY, likes INTEGER NOT NULL)",
        "INSERT INTO post_likes VALUES (1, 1, 1), (1, 2, 1), (2, 1, 0)",
        "INSERT INTO post_like_counts VALUES (1, 1), (2, 0)",
    )
    (shop.folder / "trueup.toml").write_text(example[0] + "\n".join(lines))
    ran = shop.run("run", "post_like_counts", "--json")
    assert (ran.code, ran.report["repaired"]) == (0, 1)


def test_init_does_not_overwrite(shop: Shop) -> None:
    before = (shop.folder / "trueup.toml").read_text()
    ran = shop.run("init")
    assert ran.code == 2
    assert "--force" in ran.err
    assert (shop.folder / "trueup.toml").read_text() == before
    assert shop.run("init", "--force").code == 0
    assert (shop.folder / "trueup.toml").read_text() != before


def test_init_does_not_write_a_password_or_make_a_database(shop: Shop) -> None:
    ran = shop.run("init", "postgresql://app:canary-77@127.0.0.1:1/app", "--config", "other.toml")
    assert ran.code == 2
    assert "canary-77" not in ran.out + ran.err
    assert not (shop.folder / "other.toml").exists()
    ran = shop.run("init", "sqlite:///nowhere.db", "--config", "other.toml")
    assert ran.code == 2
    assert not (shop.folder / "nowhere.db").exists()


@pytest.mark.parametrize("url", ["", "canary-77", "nosuch://u:canary-77@h/d", "postgresql://u:canary-77@h:port/d"])
def test_init_with_a_url_that_cannot_be(shop: Shop, url: str) -> None:
    ran = shop.run("init", url, "--config", "other.toml")
    assert ran.code == 2
    assert "canary-77" not in ran.out + ran.err
    assert not (shop.folder / "other.toml").exists()


@pytest.mark.parametrize("command", ["init --force --config", "audit export", "audit verify --export"])
@pytest.mark.parametrize("path", ["nowhere/x", "."])
def test_a_file_that_cannot_be_is_told(shop: Shop, command: str, path: str) -> None:
    shop.run("check")
    ran = shop.run(*command.split(), path)
    assert (ran.code, ran.out) == (2, "")
    assert f"trueup: {path}" in ran.err


def test_a_limit_of_nothing_is_none(shop: Shop) -> None:
    shop.fill([(1, 10)], [(1, 10)])
    for _ in range(2):
        shop.run("check")
    for limit, many in (("1", 1), ("0", 2)):
        assert len(shop.run("runs", "--limit", limit, "--json").json["runs"]) == many


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ("nosuch",),
        ("check", "--nosuch"),
        ("check", "--rows", "many"),
        ("check", "nosuch"),
        ("check", "p", "nosuch"),
        ("plan",),
        ("plan", "p", "q"),
        ("apply",),
        ("show",),
        ("explain",),
        ("drift", "nosuch"),
        ("pause", "nosuch"),
        ("resume", "nosuch"),
        ("stop", "nosuch"),
        ("check", "--config", "nowhere.toml"),
    ],
)
def test_a_mistake_is_two_and_on_stderr(shop: Shop, arguments: tuple[str, ...]) -> None:
    ran = shop.run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err


def test_a_wrong_configuration_is_two_and_says_where(shop: Shop) -> None:
    shop.declare(settle="soon")
    for command in ("check", "status"):
        ran = shop.run(command)
        assert ran.code == 2
        assert "projections.p.settle" in ran.err
        assert ran.out == ""


def test_the_configuration_may_be_named_by_a_variable(shop: Shop) -> None:
    (shop.folder / "trueup.toml").rename(shop.folder / "other.toml")
    assert shop.run("check").code == 2
    assert shop.run("check", environment={"TRUEUP_CONFIG": "other.toml"}).code == 0
    assert shop.run("check", "-c", "other.toml").code == 0


def test_a_configuration_without_projections(shop: Shop) -> None:
    shop.projections.clear()
    shop.write()
    assert shop.run("check").code == 2


def test_all_names_are_checked_before_the_first_runs(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    assert shop.run("run", "p", "nosuch").code == 2
    assert shop.run("runs").out.strip() == "no run yet"
    assert (2, 99, None) in shop.target


def test_all_declarations_are_checked_before_the_first_runs(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    shop.declare("q", key=["idd"])
    ran = shop.run("run")
    assert ran.code == 2
    assert "'idd'" in ran.err
    assert (2, 99, None) in shop.target
    assert not (shop.folder / "trueup.db").exists()


def test_one_that_fails_does_not_silence_the_others(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)
    mixed_keys(shop, "bad")
    shop.declare("good", source={"database": "app", "table": "src"}, target={"database": "app", "table": "src"})
    ran = shop.run("check", "p", "bad", "good", "--json")
    assert ran.code == 3
    assert ran.json["verdict"] == "inconclusive"
    verdicts = {report["projection"]: report["verdict"] for report in ran.json["projections"]}
    assert verdicts == {"p": "drift", "bad": "inconclusive", "good": "in_sync"}
    text = shop.run("check", "p", "bad", "good")
    assert "different" in text.out
    assert "of different types and have no order: 'id' holds int and str. Mend these rows" in text.err


def mixed_keys(shop: Shop, projection: str) -> None:
    """A projection whose keys have no order: no answer can be had, though both sides are equal."""
    for name in ("a", "b"):
        shop.sql("CREATE TABLE t (id, n)", "INSERT INTO t VALUES (1, 1), ('x', 2)", database=name)
        shop.databases[name] = {"url": f"sqlite:///{name}.db"}
    shop.declare(projection, source={"database": "a", "table": "t"}, target={"database": "b", "table": "t"})


def test_what_could_not_be_compared_is_three_and_never_in_sync(shop: Shop) -> None:
    mixed_keys(shop, "p")
    ran = shop.run("check", "--json")
    assert ran.code == 3
    assert ran.json["verdict"] == "inconclusive"
    assert ran.report["reason"]
    assert shop.run("check").code == 3
    assert shop.run("status", "--json").json["projections"][0]["verdict"] != "in_sync"


@pytest.mark.parametrize("library", ["sqlalchemy", "psycopg"])
def test_what_a_library_tells_of_an_error_that_is_told_is_not_printed(shop: Shop, library: str) -> None:
    warns = f"atexit.register(logging.getLogger('{library}.pool').warning, 'error ignored terminating')"
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit, logging\nfrom trueup.cli import main\n{warns}\nmain()", "status"],
        cwd=shop.folder,
        env=shop.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_crash_of_ours_is_not_drift(shop: Shop) -> None:
    """Exit code 1 means drift; a program that fell over has found nothing."""
    crash = "import trueup.app\ntrueup.app.Trueup.check = lambda *a, **k: 1 / 0\nfrom trueup.cli import main\nmain()"
    done = subprocess.run(
        [sys.executable, "-c", crash, "check"],
        cwd=shop.folder,
        env=shop.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert "ZeroDivisionError" in done.stderr
    assert done.returncode == 3


# --- starting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        "check",
        "diff",
        "run",
        "plan",
        "apply",
        "show",
        "status",
        "runs",
        "drift",
        "explain",
        "pause",
        "resume",
        "stop",
        "init",
        "demo",
    ],
)
def test_every_command_has_help(shop: Shop, command: str) -> None:
    ran = shop.run(command, "--help")
    assert ran.code == 0
    assert ran.out.strip()
    assert "\x1b" not in ran.out


def test_help_and_version(shop: Shop) -> None:
    assert "Exit codes: 0 in sync or repaired, 1 drift, 2 usage" in " ".join(shop.run("--help").out.split())
    assert shop.run("--version").out.strip().count(".") == 2


def test_as_a_module(shop: Shop) -> None:
    """Every other test forks from one process that has imported everything; this one does not."""
    shop.fill([(1, 1)], [(1, 2)])
    for arguments, code in ((["run"], 0), (["check", "--bogus"], 2)):
        command = [sys.executable, "-m", "trueup", *arguments]
        assert subprocess.run(command, cwd=shop.folder, env=shop.environment(), check=False).returncode == code


def test_what_there_is_nothing_of_is_named(shop: Shop) -> None:
    shop.fill([(1, 10)], [(1, 10)])
    assert shop.run("check", "p").out.splitlines()[0] == "p  in sync"
    assert shop.run("audit", "list", "--projection", "nosuch").out == "no line of nosuch\n"
