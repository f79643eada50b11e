"""An HTTP server before a real one that can put words into its mouth, or hang up."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Status and body of an answer; None: the connection is closed instead.
Answer = tuple[int, bytes] | None


def as_it_is(path: str, status: int, body: bytes) -> Answer:
    """Changes nothing."""
    return status, body


class Between:
    """Passes requests on; `before` may answer instead of the server, `after` change what it said."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        #: Asked with method, path and body: the body to pass on, or an answer in a list.
        self.before: Callable[[str, str, bytes], bytes | list[Answer]] = lambda method, path, body: body
        self.after: Callable[[str, int, bytes], Answer] = as_it_is
        #: Paths that were asked for.
        self.asked: list[str] = []

    def answer(self, method: str, path: str, body: bytes, type_: str | None) -> Answer:
        self.asked.append(f"{method} {path}")
        sent = self.before(method, path, body)
        if isinstance(sent, list):
            return sent[0]
        headers = {"Content-Type": type_} if type_ else {}
        request = urllib.request.Request(self.upstream + path, data=sent or None, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return self.after(path, response.status, response.read())
        except urllib.error.HTTPError as refused:
            return self.after(path, refused.code, refused.read())


@contextmanager
def between(url: str) -> Iterator[tuple[Between, str]]:
    """One of these before the server at `url`, and the URL by which it is reached."""
    scheme, _, rest = url.partition("://")
    made = Between(f"http://{rest}")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = made.answer(self.command, self.path, body, self.headers.get("Content-Type"))
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            self.send_response(answer[0])
            self.send_header("Content-Type", "application/json; charset=UTF-8")
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A connection that was closed on purpose."""

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield made, f"{scheme}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
