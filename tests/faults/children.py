"""Processes that are killed: forked from a server that has imported everything and has run the engine once."""

from __future__ import annotations

import multiprocessing

children = multiprocessing.get_context("forkserver")
#: There is one such server for all tests, so this is the only place that says what it loads.
children.set_forkserver_preload(["tests.faults.warm", "tests.faults.test_opensearch", "tests.faults.test_redis"])
