"""The HTTP API: what the command line does for a running system, over HTTP, for those who have a token.

    guard (host, size, headers) -> authenticated (who, role) -> handler in a thread -> an engine of the pool -> view

The engine is synchronous and belongs to one thread at a time, so handlers are plain functions in the server's thread
pool, and each borrows an engine for as long as it works. What takes as long as a run goes into the queue and is
answered with 202; everything else is ended at its next border after `longest`.

This package needs the extra `api`, and nothing outside it imports FastAPI.
"""

from __future__ import annotations
