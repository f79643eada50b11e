"""The legacy CRM: nobody may touch its database, and nobody has its source. It has an HTTP API with its own words,
pages of 50, a rate limit, and bad moments: one answer in eight is an error.
"""

from __future__ import annotations

import json
import random
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 50
#: Requests within a second, beyond which it answers 429.
RATE = 60


class Legacy:
    """Its data, and the server."""

    def __init__(self, seed: int) -> None:
        self.lock = threading.Lock()
        #: Customer number -> record, in the CRM's own words.
        self.records: dict[int, dict[str, Any]] = {}
        self.chance = random.Random(seed)
        self.refused = {429: 0, 503: 0}
        self._asked: list[float] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, answer = owner.answer(self.path)
                body = json.dumps(answer).encode()
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, path: str) -> tuple[int, dict[str, Any]]:
        with self.lock:
            now = time.monotonic()
            self._asked = [at for at in self._asked if now - at < 1] + [now]
            if len(self._asked) > RATE:
                self.refused[429] += 1
                return 429, {"FEHLER": "ZU VIELE ANFRAGEN"}
            if self.chance.random() < 1 / 8:
                self.refused[503] += 1
                return 503, {"FEHLER": "WARTUNG"}
            asked = parse_qs(urlsplit(path).query)
            if "NR" in asked:
                wanted = [int(number) for number in asked["NR"][0].split(",")]
                found = [self.records[number] for number in wanted if number in self.records]
                return 200, {"KUNDEN": found, "ANZAHL": len(found), "WEITER": None}
            after = int(asked.get("NACH", ["0"])[0])
            later = sorted(number for number in self.records if number > after)
            page = [self.records[number] for number in later[:PAGE]]
            more = page[-1]["KDNR"] if len(later) > PAGE else None
            return 200, {"KUNDEN": page, "WEITER": more}

    def put(self, number: int, name: str, blocked: bool, cents: int) -> None:
        record = {"KDNR": number, "NAME1": name.upper(), "SPERRE": "J" if blocked else "N", "LIMIT": f"{cents:09d}"}
        with self.lock:
            self.records[number] = record

    def drop(self, number: int) -> None:
        with self.lock:
            del self.records[number]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
