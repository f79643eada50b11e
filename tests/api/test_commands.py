"""Everything that the command line does is over HTTP as well, or docs/api.md says why it is not: command by command,
option by option.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from cyclopts import App

from tests.api.test_roles import routes
from tests.api.worlds import Api
from trueup.cli.commands import app

DOCS = Path(__file__).parents[2] / "docs" / "api.md"
#: Of every command, and of none over HTTP.
EVERYWHERE = {"--json", "--config", "--help", "--version"}
#: An option -> what it is called over HTTP, where that is another word.
CALLED = {"--key": "keys", "--rows": "limit", "--for": "for_s", "--format": "form", "--all": "stop"}
#: Commands whose `--rows` is about a report: over HTTP it is asked for when there is a run, with `limit`.
REPORTS = {"check", "plan", "run", "apply", "rollback", "backfill"}

Route = tuple[str, str]
Rows = dict[str, tuple[set[Route], str]]


def commands(within: App = app, before: str = "") -> Iterator[tuple[list[str], App]]:
    """Every command, those below others too; behind its name those with a word such as `test` of `alerts test`."""
    for name in within:
        if name.startswith("-"):
            continue
        found, full = within[name], f"{before}{name}"
        if found.default_command is not None:
            arguments = found.assemble_argument_collection()
            hints = [each.hint for each in arguments if not each.names[0].startswith("-")]
            yield [full, *(f"{full} {word}" for hint in hints for word in _words(hint))], found
        yield from commands(found, f"{full} ")


def _words(hint: Any) -> Iterator[str]:
    if get_origin(hint) is Literal:
        yield from get_args(hint)
    else:
        for inner in get_args(hint):
            yield from _words(inner)


def rows(text: str) -> Rows:
    """Command -> its routes, and what is said of that which is not over HTTP."""
    table = text.partition("## Commands and routes")[2].partition("Routes without a command")[0]
    found: Rows = {}
    for line in table.splitlines():
        if line.startswith("| `"):
            names, over, reason = (cell.strip() for cell in line.strip("|").split("|"))
            for name in re.findall(r"`([^`]+)`", names):
                assert name not in found, name
                found[name] = set(re.findall(r"`([A-Z]+) (/[^`]+)`", over)), reason
    return found


def lacking(told: Rows, words: dict[Route, set[str]]) -> list[str]:
    """Commands and options of which neither a route nor a reason is told. `words`: route -> what it is asked with."""
    found: list[str] = []
    for names, command in commands():
        found += [name for name in names if not any(told.get(name, ()))]
        over = {route for name in names for route in told.get(name, (set(), ""))[0]}
        reasons = " ".join(told.get(name, (set(), ""))[1] for name in names)
        known = {word for route in over for word in words[route]} | ({"limit"} if names[0] in REPORTS else set())
        options = [argument.names[0] for argument in command.assemble_argument_collection()] if over else []
        for option in options:
            plain = CALLED.get(option, option.removeprefix("--").replace("-", "_"))
            if option.startswith("--") and option not in EVERYWHERE and plain not in known and option not in reasons:
                found.append(f"{names[0]} {option}")
    return found


def asked_with(document: dict[str, Any]) -> dict[Route, set[str]]:
    """Route -> the words of its path, its parameters, the fields of its body."""
    found = {}
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            words = set(path.split("/")) | {each["name"] for each in said.get("parameters", ())}
            body = said.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            shape = document["components"]["schemas"].get(body.get("$ref", "").rpartition("/")[2], {})
            found[method.upper(), path] = words | set(shape.get("properties", ()))
    return found


def test_every_command_has_a_route_or_a_reason(small: Api) -> None:
    told, words = rows(DOCS.read_text()), asked_with(small.app.openapi())
    assert lacking(told, words) == []
    assert told.keys() == {name for names, _ in commands() for name in names}  # nothing is told of what is not there
    there = set(routes(small))
    assert {route for over, _ in told.values() for route in over} <= there
    assert {"backfill", "audit verify", "alerts test", "pace trial", "token create"} <= told.keys()


def test_every_route_is_told_of(small: Api) -> None:
    text = DOCS.read_text()
    named = {route for over, _ in rows(text).values() for route in over}
    rest = set(re.findall(r"`([A-Z]+) (/[^`]+)`", text.partition("Routes without a command:")[2].partition("##")[0]))
    assert named | rest == set(routes(small))
    assert not named & rest


@pytest.mark.parametrize("made", ["command", "option", "word"])
def test_what_is_added_is_missed(small: Api, made: str) -> None:
    """The guard itself: one row less, one reason less, one field less."""
    told, words = rows(DOCS.read_text()), asked_with(small.app.openapi())
    if made == "command":
        del told["definitions"]
    elif made == "option":
        told["audit export"] = told["audit export"][0], ""
    else:
        words["POST", "/v1/tokens"].discard("expires")
    assert lacking(told, words) == [
        {"command": "definitions", "option": "audit export --salts", "word": "token create --expires"}[made]
    ]
