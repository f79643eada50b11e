"""What a server or a program answers a gauge: as a whole and in time, or not at all."""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import selectors
import signal
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from typing import IO, Any

#: Most of an answer that is read, bytes. More is none.
ANSWER_MAX = 100_000


def fetched(url: str, timeout_s: float) -> tuple[int, str]:
    """Status and body. Raises ValueError where they are not there as a whole by then; OSError, HTTPException."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("the address has to begin with http:// or https://")
    try:
        with urllib.request.build_opener(_AsItIs, _InTime).open(url, timeout=timeout_s) as answer:
            body = answer.read(ANSWER_MAX + 1)
    except TimeoutError:
        raise ValueError(f"it timed out after {timeout_s:g} s") from None
    if len(body) > ANSWER_MAX:
        raise ValueError(f"it answered more than {ANSWER_MAX} bytes")
    if answer.length:
        raise ValueError(f"its answer was cut off: {answer.length} bytes of it did not come")
    return answer.status, body.decode("utf-8-sig", "replace")


class _AsItIs(urllib.request.HTTPErrorProcessor):
    """Every status is an answer, and none of them leads elsewhere."""

    def http_response(self, request: Any, response: Any) -> Any:  # noqa: ARG002
        return response

    https_response = http_response


class _InTime(urllib.request.HTTPHandler, urllib.request.HTTPSHandler):
    """An answer has as much time as a whole as else each read of it has."""

    def do_open(self, http_class: Any, req: urllib.request.Request, **options: Any) -> http.client.HTTPResponse:
        until = time.monotonic() + (req.timeout or 0.0)

        def answer(line: socket.socket, **given: Any) -> http.client.HTTPResponse:
            made = http.client.HTTPResponse(line, **given)
            made.fp = io.BufferedReader(_Said(line, made.fp, until))
            return made

        def connection(*place: Any, **given: Any) -> http.client.HTTPConnection:
            made: http.client.HTTPConnection = http_class(*place, **given)
            made.response_class = answer  # type: ignore[assignment]  # it is only called
            return made

        return super().do_open(connection, req, **options)


class _Said(io.RawIOBase):
    """What is said on a line until a moment."""

    def __init__(self, line: socket.socket, said: io.BufferedReader, until: float) -> None:
        self._line, self._said, self._until = line, said, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if (left_s := self._until - time.monotonic()) <= 0:
            raise TimeoutError
        self._line.settimeout(left_s)
        return self._said.readinto1(buffer)

    def close(self) -> None:
        self._said.close()
        super().close()


class Program:
    """A program that is run now and then, in a group with all that it starts."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._running: subprocess.Popen[bytes] | None = None
        self._given_up = False

    def run(self, timeout_s: float) -> tuple[int, str]:
        """Its exit code, and what it printed. Raises ValueError where that is too much, or takes longer; OSError."""
        until = time.monotonic() + timeout_s
        # What is run is what the team has declared, without a shell.
        with subprocess.Popen(  # noqa: S603
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as running:
            self._running = running
            if self._given_up:  # while it was started
                self._kill()
            try:
                printed = _read(running.stdout, until)
                return running.wait(max(until - time.monotonic(), 0.0)), printed
            except (TimeoutError, subprocess.TimeoutExpired):
                raise ValueError(f"it timed out after {timeout_s:g} s") from None
            finally:
                self._kill()

    def give_up(self) -> None:
        """Called by another thread, too: it ends, and is not run any more."""
        self._given_up = True
        self._kill()

    def _kill(self) -> None:
        """End it, and all that it has started. Its number is its own until it is waited for, which `run` does last."""
        if self._running is not None and self._running.returncode is None:
            with contextlib.suppress(OSError):  # it has ended by now
                os.killpg(self._running.pid, signal.SIGKILL)

    close = give_up


def _read(pipe: IO[bytes] | None, until: float) -> str:
    """All that comes out of it. Raises TimeoutError, or ValueError where it is too much."""
    assert pipe is not None
    printed = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(printed) <= ANSWER_MAX:
            if not selector.select(max(until - time.monotonic(), 0.0)):
                raise TimeoutError
            part = os.read(pipe.fileno(), ANSWER_MAX)
            if not part:
                return printed.decode("utf-8", "replace")
            printed += part
    raise ValueError(f"it printed more than {ANSWER_MAX} bytes")
