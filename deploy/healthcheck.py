"""Does the node of this container answer? What `HEALTHCHECK` in the Dockerfile runs.

Where requests are taken is known from how the container's first process was begun, and from its configuration. What
takes none (a worker, another command, a node without `[trueup.api]`) is well as long as it runs: when it ends, the
container does. Whether the ledger answers is not asked: a node goes on trying, and a restart would help nothing.
"""

from __future__ import annotations

import http.client
import ipaddress
import sys
from collections.abc import Sequence
from pathlib import Path

from trueup import config
from trueup.cli.commands import app
from trueup.core.api_settings import ApiSettings

#: Seconds for an answer; `HEALTHCHECK` allows more for the rest.
ANSWER_S = 5.0


def settings(words: Sequence[str]) -> ApiSettings | None:
    """Where a process that was begun with these words takes requests; None: nowhere."""
    begun = next((at for at, word in enumerate(words) if Path(word).name == "trueup"), None)
    if begun is None or words[begun + 1 : begun + 2] != ["serve"]:
        return None
    _, bound, _ = app.parse_args(words[begun + 1 :], print_error=False, exit_on_error=False)
    listen = bound.arguments.get("listen", "")
    declared = config.load(Path(bound.arguments.get("config", config.FILE))).settings.api
    return (declared or ApiSettings()).listening(listen) if listen else declared


def trouble(api: ApiSettings) -> str:
    """Why no good answer came; empty: one did."""
    host, port = api.address
    if ipaddress.ip_address(host).is_unspecified:  # all addresses of this machine, and that is none
        host = "::1" if ":" in host else "127.0.0.1"
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/health/live")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return f"{api.listen} does not answer: {error}"
    finally:
        connection.close()
    return "" if status == http.client.OK else f"{api.listen} answers with {status}"


def main(words: Sequence[str]) -> int:
    """0: well, as far as can be seen; 1: not."""
    api = settings(words)
    if api is None or api.address[1] == 0:  # any free port: nobody outside knows which
        print("it takes no requests")
        return 0
    why = trouble(api)
    print(why or "it answers")
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main(Path("/proc/1/cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")))
