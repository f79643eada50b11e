"""The API as a user starts it: `trueup serve` in a process of its own, over a real socket."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.api.worlds import Api
from tests.cli.shop import SCHEMA, Server, Shop
from tests.live.harness import PATIENCE_S, until
from trueup import views
from trueup.api.server import served
from trueup.core.api_settings import ApiSettings
from trueup.errors import LedgerFailed
from trueup.observe.log import JsonLines, Logged, about
from trueup.store.ledger import Ledger


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    server = Server()
    made = Shop(folder=tmp_path, server=server, databases={"app": {"url": "sqlite:///app.db"}})
    made.settings = {"api": {"listen": "127.0.0.1:0"}}
    made.sql(SCHEMA.format("src"), SCHEMA.format("tgt"))
    yield made
    server.close()


def ask(address: str, path: str, token: str = "", **body: Any) -> tuple[int, Any]:
    """Status and document."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(address + path, data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def address_in(text: str) -> str:
    """Where requests are taken, as the log says."""
    return text[text.index("http://") :].split(maxsplit=1)[0].strip('",}')


def test_it_serves_until_it_is_told_to_end(shop: Shop) -> None:
    """SIGTERM while a run waits for rows to settle: not ready any more, still answering, then gone."""
    shop.fill([(1, 10), (2, 20)], [])
    shop.declare(settle="600s")
    operator = shop.run("token", "create", "deploy", "--role", "operator", "--expires", "1d").out.strip()
    with shop.running("serve", "--log", "json") as going:
        going.until("requests are taken")
        address = address_in(going.told)
        until(lambda: ask(address, "/health/ready")[0] == 200, "it is ready")
        assert ask(address, "/health/live") == (200, {"status": "ok"})
        assert ask(address, "/v1/me")[0] == 401
        assert ask(address, "/v1/me", operator) == (200, {"name": "deploy", "role": "operator"})
        status, asked = ask(address, "/v1/projections/p/run", operator, reason="by hand")
        assert (status, asked["actor"]) == (202, "deploy")
        going.until("run begun")
        going.process.send_signal(signal.SIGTERM)
        ended = going.end()
    assert ended.code == 0, ended
    with pytest.raises(urllib.error.URLError):
        ask(address, "/health/live")
    lines = [json.loads(line) for line in ended.err.splitlines() if line.startswith("{")]
    (posted,) = [line for line in lines if line.get("route") == "/v1/projections/{name}/run"]
    assert (posted["actor"], posted["status"], posted["method"]) == ("deploy", 202, "POST")
    (begun,) = [line for line in lines if "run begun" in line["message"]]
    assert (begun["projection"], begun["request"]) == ("p", asked["request"])
    assert begun["node"].startswith("n-")
    assert operator not in ended.err
    (request,) = shop.run("queue", "--json").json["requests"]
    assert (request["request"], request["state"]) == (asked["request"], "waiting")  # for the next start


def test_it_refuses_to_start_open(shop: Shop) -> None:
    shop.declare()
    refused = shop.run("serve", "--listen", "0.0.0.0:0")
    assert (refused.code, "nobody has a token" in refused.err) == (2, True), refused
    secret = shop.run("token", "create", "me", "--role", "admin").out.strip()
    shop.run("token", "revoke", "me")
    assert shop.run("serve", "--listen", "0.0.0.0:0").code == 2
    assert "0.0.0.0" not in shop.run("serve", "--listen", "nowhere:1").err
    assert secret not in (shop.folder / "trueup.db").read_bytes().decode("latin-1")
    shop.run("token", "create", "me", "--role", "admin")
    with shop.running("serve", "--listen", "0.0.0.0:0") as going:
        going.until("requests are taken")
        going.process.send_signal(signal.SIGTERM)
        assert going.end().code == 0


def test_a_port_that_is_taken(shop: Shop) -> None:
    shop.declare()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        refused = shop.run("serve", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
    assert (refused.code, "trueup.api.listen" in refused.err) == (2, True), refused


def test_a_request_in_progress_is_answered(small: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a socket, in this process: the server is told to end while a handler works."""
    entered, go_on = threading.Event(), threading.Event()

    def slow(_engine: object) -> list[dict[str, Any]]:
        entered.set()
        assert go_on.wait(PATIENCE_S)
        return []

    monkeypatch.setattr(views, "nodes", slow)
    settings = ApiSettings(listen="127.0.0.1:0")
    with ThreadPoolExecutor(1) as executor:
        with served(small.engine, settings, looping=lambda: False, caused=dict) as address:
            assert ask(address, "/health/ready")[0] == 503  # it is about to end
            answer = executor.submit(ask, address, "/v1/nodes", small.tokens["viewer"])
            assert entered.wait(PATIENCE_S)
            threading.Timer(0.3, go_on.set).start()
        assert answer.result(PATIENCE_S) == (200, [])


def test_it_is_not_ready_without_its_ledger(small: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = small.client.get
    assert ready("/health/ready").json() == {"status": "ok"}

    def away(_ledger: object) -> object:
        raise LedgerFailed("the ledger is away")

    monkeypatch.setattr(Ledger, "reading", away)
    assert ready("/health/ready").status_code == 200  # as it was a moment ago
    small.later(2)
    answer = ready("/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
    assert small.client.get("/health/live").status_code == 200
    gone = small.ask("GET", "/v1/me", "viewer")
    assert (gone.status_code, gone.headers["retry-after"]) == (503, "5")


def test_lines_of_a_run_name_it(small: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Everything that is told between the beginning of a request and its end, whoever tells it."""
    told = Told()
    logging.getLogger("trueup").addHandler(told)
    caplog.set_level("DEBUG", "trueup")
    try:
        with small.world.engine(progress=Logged()) as engine, about(node="n-1", request="q-1"):
            run = engine.check("p").run
            logging.getLogger("trueup.run").info("after")
        logging.getLogger("trueup.run").info("elsewhere")
    finally:
        logging.getLogger("trueup").removeHandler(told)
    inside, outside = told.lines[-2:]
    assert {"run": run, "node": "n-1", "request": "q-1", "projection": "p"}.items() <= inside.items()
    assert not {"run", "node", "request"} & outside.keys()


def test_who_listens_to_the_http_server_hears_nothing_else(small: Api) -> None:
    theirs, told = logging.getLogger("uvicorn"), Told()
    with served(small.engine, ApiSettings(listen="127.0.0.1:0"), looping=lambda: True, caused=dict):
        theirs.addHandler(told)
        try:
            logging.getLogger("trueup.api").warning("of ours")
            theirs.warning("of theirs")
        finally:
            theirs.removeHandler(told)
    assert [line["message"] for line in told.lines] == ["of theirs"]


class Told(logging.Handler):
    """Keeps what would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(JsonLines().format(record)))
