"""Every route with every role: the list is the application's own, so that a route without a row here fails."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from tests.api.worlds import Api
from trueup.api import auth
from trueup.api.pool import Engines
from trueup.core.roles import Role
from trueup.errors import Busy, Interrupted

#: Method and path -> the least role that may ask. None: nobody has to say who they are.
LEAST: dict[tuple[str, str], Role | None] = {
    ("GET", "/health/live"): None,
    ("GET", "/health/ready"): None,
    ("POST", "/v1/hooks/{name}"): None,  # who sends it is known by a signature
    **dict.fromkeys(
        [
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("GET", "/v1/accepted"),
            ("GET", "/v1/alerts"),
            ("GET", "/v1/audit"),
            ("GET", "/v1/audit/heads"),
            ("GET", "/v1/audit/lines"),
            ("GET", "/v1/audit/lines/{seq}"),
            ("GET", "/v1/backfills"),
            ("GET", "/v1/backfills/{backfill}"),
            ("GET", "/v1/me"),
            ("GET", "/v1/nodes"),
            ("GET", "/v1/pace"),
            ("GET", "/v1/pace/{database}"),
            ("GET", "/v1/plans"),
            ("GET", "/v1/plans/{plan}"),
            ("GET", "/v1/projections"),
            ("GET", "/v1/projections/{name}"),
            ("GET", "/v1/projections/{name}/definitions"),
            ("GET", "/v1/projections/{name}/drift"),
            ("GET", "/v1/projections/{name}/explain"),
            ("GET", "/v1/projections/{name}/quarantine"),
            ("GET", "/v1/quarantine"),
            ("GET", "/v1/requests"),
            ("GET", "/v1/requests/{request}"),
            ("GET", "/v1/runs"),
            ("GET", "/v1/runs/{run}"),
            ("GET", "/v1/triggers"),
        ],
        Role.VIEWER,
    ),
    **dict.fromkeys(
        [
            ("POST", "/v1/audit/export"),
            ("POST", "/v1/audit/sequence"),
            ("POST", "/v1/audit/verify"),
            ("POST", "/v1/databases/{database}/discover"),
            ("POST", "/v1/plans/{plan}/apply"),
            ("POST", "/v1/projections/{name}/check"),
            ("POST", "/v1/projections/{name}/doctor"),
            ("POST", "/v1/projections/{name}/pause"),
            ("POST", "/v1/projections/{name}/plan"),
            ("POST", "/v1/projections/{name}/quarantine/drop"),
            ("POST", "/v1/projections/{name}/quarantine/retry"),
            ("POST", "/v1/projections/{name}/request"),
            ("POST", "/v1/projections/{name}/resume"),
            ("POST", "/v1/projections/{name}/run"),
            ("POST", "/v1/projections/{name}/stop"),
            ("POST", "/v1/runs/{run}/rollback"),
            ("POST", "/v1/stop"),
        ],
        Role.OPERATOR,
    ),
    **dict.fromkeys(
        [
            ("POST", "/v1/plans/{plan}/approve"),
            ("POST", "/v1/plans/{plan}/reject"),
            ("POST", "/v1/projections/{name}/accept"),
            ("POST", "/v1/projections/{name}/withdraw"),
        ],
        Role.APPROVER,
    ),
    **dict.fromkeys(
        [
            ("DELETE", "/v1/pace/{database}"),
            ("DELETE", "/v1/tokens/{person}"),
            ("GET", "/v1/tokens"),
            ("POST", "/v1/alerts/test"),
            ("POST", "/v1/projections/{name}/erase"),
            ("POST", "/v1/tokens"),
            ("PUT", "/v1/pace/{database}"),
        ],
        Role.ADMIN,
    ),
}
NOBODY = ("", "trueup_wrong", "expired", "revoked", "x" * 5_000)


def routes(api: Api) -> list[tuple[str, str]]:
    contexts = iter_route_contexts(api.app.routes)
    return sorted((method, str(each.path)) for each in contexts for method in each.methods or ())


def test_every_route_has_a_row(small: Api) -> None:
    assert routes(small) == sorted(LEAST)


def test_every_route_with_every_role(small: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names that are not there are asked for, so that what is let in does nothing: 404 or 422, or an empty list."""
    monkeypatch.setattr(auth, "FAILED_MAX", 10**6)
    cells = 0
    for method, template in routes(small):
        path, least = re.sub(r"{seq}", "999999", template), LEAST[method, template]
        path = re.sub(r"{\w+}", "p-nothere", path)
        if template in ("/v1/stop", "/v1/audit/verify"):
            continue  # they ask for nothing that could be missing: below
        for who in (*NOBODY, *Role):
            cells += 1
            answer = small.ask(method, path, who)
            told = f"{who[:20]!r}: {method} {template}: {answer.status_code} {answer.text[:200]}"
            if least is None:
                assert answer.status_code in (200, 403), told
            elif who in NOBODY:
                assert answer.status_code == 401, told
                assert answer.headers["www-authenticate"] == "Bearer", told
            elif not Role(who).may(least):
                assert answer.status_code == 403, told
            else:
                assert answer.status_code in (200, 404, 409, 422), told
    assert cells > 400
    assert small.ask("POST", "/v1/stop", "viewer", reason="no").status_code == 403
    assert small.ask("POST", "/v1/audit/verify", "viewer").status_code == 403
    assert small.get("/v1/projections")[0]["state"] == "new"  # nobody stopped anything


def test_reading_changes_nothing(small: Api, tmp_path: Path) -> None:
    """Not a row of the ledger."""
    small.world.drift(1)
    run = small.done("/v1/projections/p/plan")["run"]
    names = {"name": "p", "run": run, "plan": small.get(f"/v1/runs/{run}")["left_plan"], "database": "held", "seq": "0"}
    names["request"] = small.get("/v1/requests")[0]["request"]
    names["backfill"] = small.backfill(tmp_path)
    before = dump(small)
    for method, template in routes(small):
        if method == "GET":
            path = re.sub(r"{(\w+)}", lambda match: names[match[1]], template)
            assert small.ask(method, path).status_code == 200, path
    assert dump(small) == before


def dump(api: Api) -> list[str]:
    with closing(sqlite3.connect(api.world.ledger_url.removeprefix("sqlite:///"))) as connection:
        return list(connection.iterdump())


# --- tokens ----------------------------------------------------------------------------------------------------------


def test_a_token_from_its_making_to_its_end(small: Api) -> None:
    made = small.ask("POST", "/v1/tokens", name=" deploy ", role="operator", expires="1h").json()
    secret = made.pop("token")
    assert (made, len(secret) > 40) == ({"name": "deploy", "role": "operator"}, True)
    small.later(2)
    assert small.ask("GET", "/v1/me", secret).json() == {"name": "deploy", "role": "operator"}
    assert small.ask("POST", "/v1/tokens", name="DEPLOY", role="viewer").status_code == 422  # one person, one token
    small.later(3600)
    assert small.ask("GET", "/v1/me", secret).status_code == 401
    (listed,) = [row for row in small.ask("GET", "/v1/tokens").json() if row["name"] == "deploy"]
    assert (listed["state"], listed["created_by"]) == ("expired", "admin-1")
    assert small.ask("DELETE", "/v1/tokens/Deploy").status_code == 204
    assert small.ask("DELETE", "/v1/tokens/deploy").status_code == 404
    again = small.ask("POST", "/v1/tokens", name="deploy", role="viewer").json()["token"]
    small.later(2)
    assert small.ask("GET", "/v1/me", again).json()["role"] == "viewer"
    small.ask("DELETE", "/v1/tokens/deploy")
    small.later(2)
    assert small.ask("GET", "/v1/me", again).status_code == 401
    assert secret not in "\n".join(dump(small))
    with small.engine() as engine:
        engine.audit.seal()
        assert engine.audit.verify().problems == []
        told = [(line["act"], line["actor"]["name"]) for line in engine.audit.lines(limit=99)]
    assert told.count(("token.created", "admin-1")) == told.count(("token.revoked", "admin-1")) == 2


def test_a_token_that_nobody_was_told_of_is_found(small: Api) -> None:
    """Whoever writes into the ledger's database can make a token; the audit log does not tell of it."""
    with closing(sqlite3.connect(small.world.ledger_url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE trueup_tokens SET role = 'admin', audit = 'x' WHERE name = 'viewer-1'")
    assert any("token.created" in problem for problem in small.post("/v1/audit/verify")["problems"])


def test_wrong_attempts_are_counted_by_address_and_nobody_else_waits(
    small: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "trueup.api")
    statuses = [small.ask("GET", "/v1/me", "trueup_guess").status_code for _ in range(auth.FAILED_MAX + 5)]
    assert statuses == [401] * auth.FAILED_MAX + [429] * 5
    assert small.ask("GET", "/v1/me", "viewer").status_code == 200  # from the same address
    assert "trueup_guess" not in caplog.text
    assert sum("refused with 401" in record.message for record in caplog.records) == auth.FAILED_MAX
    small.later(auth.WINDOW_S)
    assert small.ask("GET", "/v1/me", "trueup_guess").status_code == 401


# --- what stands before all of it ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:8765", 200), ("[::1]:8765", 200), ("evil.example", 421), ("", 421)],
)
def test_only_who_calls_it_by_its_name(small: Api, host: str, status: int) -> None:
    """A page of another site can have its name resolve to this machine; it cannot change what it calls it."""
    headers = {"Authorization": f"Bearer {small.tokens['viewer']}", "Host": host}
    answer = small.client.get("/v1/me", headers=headers)
    assert answer.status_code == status
    assert "access-control-allow-origin" not in answer.headers
    assert small.client.get("/health/live", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(small: Api, chunked: bool) -> None:
    large: Any = b'{"reason": "' + b"x" * small.settings.body + b'"}'
    headers = {"Authorization": f"Bearer {small.tokens['operator']}", "Content-Type": "application/json"}
    answer = small.client.post(
        "/v1/projections/p/check", headers=headers, content=iter([large[:1000], large[1000:]]) if chunked else large
    )
    assert answer.status_code == 413


def test_a_fault_of_ours_is_no_secret_and_no_traceback(
    small: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trueup.views.nodes", lambda _engine: 1 / 0)
    answer = small.ask("GET", "/v1/nodes", "viewer")
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "ZeroDivision" not in answer.text
    assert "ZeroDivision" in caplog.text
    assert small.ask("GET", "/v1/me", "viewer").status_code == 200


def checked(engine: Any) -> None:
    """A check that begins when its time is over."""
    while not engine.stop_after_segment.asked:
        pass
    engine.check("p")


def test_an_answer_that_takes_too_long_ends_at_a_border(small: Api) -> None:
    """`accept` looks at the rows again, and waits as long as they need to settle."""
    engines = Engines(small.engine, 1, wait_s=0.01)
    with pytest.raises(Interrupted), engines.lent(0.01) as engine:
        checked(engine)
    with engines.lent(30) as engine:
        assert not engine.stop_after_segment.asked  # another one
        with pytest.raises(Busy), engines.lent(30):
            pass
    engines.close()
