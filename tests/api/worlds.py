"""What the API's tests share: a small system on real tables, its API in this process, a token for each role."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.serving.worlds import World
from trueup import Database
from trueup.api.application import application, guarded
from trueup.core.api_settings import ApiSettings
from trueup.core.roles import Role
from trueup.serve import Node
from trueup.who import Actor

SETUP = Actor(name="setup")


class Api:
    """Projections of a world behind the API, and a node that is stepped by hand."""

    def __init__(self, world: World, **settings: Any) -> None:
        self.world = world
        #: What else engines are opened with.
        self.declared: dict[str, Any] = {}
        self.settings = ApiSettings.model_validate(settings)
        self.app: FastAPI = application(self.engine, self.settings, clock=world.clock)
        self.client = TestClient(guarded(self.app, self.settings), base_url="http://localhost")
        self.node: Node = world.node(databases=self.databases)
        with self.engine() as engine:
            made = {role: self._token(engine, f"{role}-1", role) for role in Role}
            made["expired"] = self._token(engine, "expired-1", Role.ADMIN, expires="1s")
            made["revoked"] = self._token(engine, "revoked-1", Role.ADMIN)
            engine.tokens.revoke("revoked-1", now=world.clock.now(), by=SETUP)
        self.tokens: dict[str, str] = made
        self.later(2)

    @property
    def databases(self) -> dict[str, Database]:
        """`held` is paced, and no run works on it: that would need a clock that goes by itself."""
        held = {"url": self.world.url, "protect": "10%"}
        return {"app": Database.model_validate({"url": self.world.url}), "held": Database.model_validate(held)}

    def engine(self) -> Any:
        return self.world.engine(databases=self.databases, **self.declared)

    def _token(self, engine: Any, name: str, role: Role, expires: str = "") -> str:
        return str(engine.tokens.create(name, role, now=self.world.clock.now(), expires=expires, by=SETUP))

    def later(self, seconds: float) -> None:
        """The list of tokens that was read is old now."""
        self.world.clock.fake.sleep(seconds)

    # --- asking ------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, who: str = "admin", **body: Any) -> Any:
        """An answer. `who`: whose token, or what is sent as one; empty: none."""
        headers = {"Authorization": f"Bearer {self.tokens.get(who, who)}"} if who else {}
        return self.client.request(method, path, headers=headers, json=body or None)

    def get(self, path: str, who: str = "viewer") -> Any:
        """What a viewer reads."""
        answer = self.ask("GET", path, who)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, who: str = "operator", **body: Any) -> Any:
        """What an operator asks for, and gets."""
        answer = self.ask("POST", path, who, **body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def done(self, path: str, **body: Any) -> Any:
        """Something asked for and carried out: how the request ended."""
        answer = self.ask("POST", path, "operator", **({"reason": "a test"} | body))
        assert answer.status_code == 202, answer.text
        self.node.step()
        return self.get(answer.headers["location"])

    def backfill(self, folder: Path, *, adds: int = 1, version: int = 1, known: bool = True) -> str:
        """A file about `t_p`, at which somebody on a node looks (`known`); the backfill's name."""
        path = folder / "more.sql"
        path.write_text(f"-- key = 'id'\n-- database = 'app'\n-- version = '{version}'\nUPDATE t_p SET n = n + {adds}")
        if known:
            with self.engine() as engine:
                engine.check(engine.backfill(path))
        return "more"

    def close(self) -> None:
        self.client.close()
        self.app.state.engines.close()


def keys_of(value: Any) -> Any:
    """The names in a document, however deep, and nothing else: what a view and an answer have in common."""
    plain = json.loads(json.dumps(value, default=str))
    if isinstance(plain, dict):
        return {name: keys_of(inner) for name, inner in plain.items()}
    return [keys_of(inner) for inner in plain] if isinstance(plain, list) else None
