"""The public surface: few names, cheap to import, every one of them documented."""

from __future__ import annotations

import ast
import importlib
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

import trueup
from tests.servers import Pair
from trueup.cli.commands import app
from trueup.cli.garbage import WORKING
from trueup.config import Settings
from trueup.core.pace.settings import Pace, Window
from trueup.core.projection import Database, Limits, Projection, Side

DOCS = Path(__file__).parents[1] / "docs"
HEAVY = ("sqlalchemy", "pydantic", "rich", "sqlglot", "alembic", "cyclopts", "psycopg")
#: What one look at two PostgreSQL databases has no use for.
UNUSED = (
    *("alembic", "cyclopts", "duckdb", "numpy", "pymysql", "redis", "rich", "sqlglot", "sqlalchemy.orm"),
    *(
        "trueup.app",
        "trueup.cli",
        "trueup.config",
        "trueup.core.discover",
        "trueup.core.lot",
        "trueup.core.pace.governor",
    ),
    *("trueup.doctor", "trueup.job", "trueup.pace", "trueup.run", "trueup.store"),
    *(
        f"trueup.adapters._{name}"
        for name in ("discovering", "examiner", "lots", "probing", "race", "sandbox", "units")
    ),
)


def test_all_is_sorted_and_has_no_name_twice() -> None:
    assert trueup.__all__ == sorted(set(trueup.__all__))


def test_at_most_twenty_names() -> None:
    assert len(trueup.__all__) <= 20


@pytest.mark.parametrize("name", trueup.__all__)
def test_every_name_can_be_had_and_says_what_it_is(name: str) -> None:
    value = getattr(trueup, name)
    if name != "__version__":
        assert value.__doc__
        assert value.__module__.startswith("trueup.")
        # Python's own text for a value class is not a docstring.
        assert not value.__doc__.startswith(f"{name}(")


def test_dir_is_what_is_public() -> None:
    assert dir(trueup) == trueup.__all__
    assert set(trueup._HOMES) == set(trueup.__all__) - {"__version__"}


def test_the_names_for_type_checkers_are_the_names_at_run_time() -> None:
    tree = ast.parse(Path(trueup.__file__).read_text(encoding="utf-8"))
    (checking,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {
        alias.name: node.module for node in checking.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert told == trueup._HOMES


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Trueupp'"):
        _ = trueup.Trueupp  # type: ignore[attr-defined]


def imported_by(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=180, check=True)
    return set(done.stdout.split())


def test_importing_trueup_costs_nothing() -> None:
    assert imported_by("import trueup; trueup.__version__").isdisjoint(HEAVY)


def test_a_name_is_imported_when_it_is_asked_for() -> None:
    """The other way round, so that the test above cannot pass for a wrong reason."""
    assert "pydantic" in imported_by("import trueup; trueup.Projection")


def test_the_help_is_cheap() -> None:
    shown = ["from trueup.cli.commands import app_for", "asked = ['--help']"]
    found = imported_by("\n".join([*shown, "app_for(asked)(asked, result_action='return_value')"]))
    assert "trueup.cli.loop" in found  # what a command does is its docstring
    assert found.isdisjoint({"sqlalchemy", "pydantic", "sqlglot", "alembic"})


def test_the_version_is_told_without_what_reads_a_command_line() -> None:
    asked = "sys.argv[1:] = ['--version']\nfrom trueup.cli import main\nmain()"
    assert imported_by(asked).isdisjoint(HEAVY)


def test_a_command_is_imported_without_the_others() -> None:
    called = "import trueup.cli.commands; trueup.cli.commands.app_for(['diff', 'a', 'b'])['diff']"
    found = {name for name in imported_by(called) if name.startswith("trueup.cli.")}
    assert found == {
        f"trueup.cli.{name}" for name in ("answers", "commands", "garbage", "loop", "options", "signals", "streams")
    }


def threshold_after(statement: str) -> int:
    """New objects after which Python looks for garbage, once this was done."""
    script = f"import gc, sys\ntry:\n    {statement}\nfinally:\n    print(gc.get_threshold()[0])"
    done = subprocess.run([sys.executable, "-c", script, "--version"], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def test_garbage_is_collected_as_the_process_wants_it_unless_it_is_the_command() -> None:
    usual = threshold_after("pass")
    library = "import trueup; trueup.diff, trueup.Trueup; import trueup.cli.commands"
    assert threshold_after(f"{library}; from trueup.cli import garbage; garbage.works()") == usual
    starting = threshold_after("import trueup.cli; trueup.cli.main()")
    working = threshold_after("from trueup.cli import garbage; garbage.starts(); garbage.works()")
    assert usual < working < starting


def test_a_command_that_works_looks_for_garbage_again(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("id,v\n1,1\n")
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    sqlite3.connect(tmp_path / "empty.db").close()
    for command in (
        ["diff", *(str(tmp_path / f"{name}.csv") for name in ("a", "b")), "--key", "id"],
        ["init", url, "--config", str(tmp_path / "trueup.toml")],
        ["discover", url],
    ):
        assert threshold_after(f"sys.argv[1:] = {command}; import trueup.cli; trueup.cli.main()") == WORKING, command
    called = "from trueup.cli import commands, garbage; garbage.starts(); commands.app_for"
    assert threshold_after(f"{called}(['demo'])") == WORKING


def imported_by_diff(pair: Pair, settle: float) -> set[str]:
    """All modules that are there after two tables were compared."""
    for url in (pair.source, pair.target):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS t (id bigint PRIMARY KEY, v integer)")
    sides = [f"{url}#t" for url in (pair.source, pair.target)]
    return imported_by(f"import trueup; trueup.diff(*{sides!r}, settle={settle})")


def test_a_comparison_imports_what_one_look_needs(postgres_pair: Pair) -> None:
    found = imported_by_diff(postgres_pair, 0)
    assert "trueup.adapters.postgresql" in found
    assert found.isdisjoint(UNUSED)


@pytest.mark.parametrize("scheme", ["mysql", "sqlite"])
def test_an_adapter_imports_what_one_look_needs(scheme: str) -> None:
    found = imported_by(f"import trueup.adapters.{scheme}")
    assert f"trueup.adapters.{scheme}" in found
    assert found.isdisjoint(set(UNUSED) - {"pymysql"})


def test_a_second_look_needs_a_run_and_a_ledger(postgres_pair: Pair) -> None:
    """The other way round: these are the modules that the test above would see."""
    assert imported_by_diff(postgres_pair, 0.001) >= {"trueup.app", "trueup.run", "trueup.store", "trueup.job"}


# --- documented ------------------------------------------------------------------------------------------------------

COMMANDS = sorted(name for name in app if not name.startswith("-"))
MODELS = (Settings, Database, Projection, Side, Limits, Pace, Window)
KEYS = sorted({(model.__name__, key) for model in MODELS for key in model.model_fields} - {("Projection", "name")})


def described(name: str) -> str:
    path = DOCS / name
    assert path.exists(), f"{path} is not written yet"
    return path.read_text(encoding="utf-8")


def test_the_commands_are_the_contract() -> None:
    assert set(COMMANDS) >= {
        *("apply", "check", "demo", "diff", "drift", "explain", "init", "pause", "plan"),
        *("resume", "run", "runs", "show", "status", "stop"),
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(name: str) -> None:
    function = app[name].default_command
    assert function is not None
    assert function.__doc__
    assert app[name].help


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"`trueup {name}\b", described("commands.md"))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_documented(name: str) -> None:
    text = described("commands.md")
    for argument in app[name].assemble_argument_collection():
        for spelling in argument.names:
            if spelling.startswith("--"):
                assert f"`{spelling}" in text or f" {spelling}" in text, spelling


@pytest.mark.parametrize(("model", "key"), KEYS)
def test_every_configuration_key_is_documented(model: str, key: str) -> None:
    # As a word of code: in a table, a heading or an example.
    assert re.search(rf"`{key}`|^\s*#?\s*{key}\s*=|[{{,]\s*{key}\s*=", described("configuration.md"), re.MULTILINE)


def test_every_exit_code_is_documented() -> None:
    text = described("commands.md")
    for code in range(5):
        assert re.search(rf"(\*\*|`|\| ?){code}\b", text), code


def test_every_module_of_the_models_is_imported_by_name() -> None:
    for name, home in trueup._HOMES.items():
        assert getattr(importlib.import_module(home), name) is getattr(trueup, name)
