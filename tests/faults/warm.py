"""Preloaded by the server that the children of these tests are forked from: the engine has run there once, so that its
modules and compiled statements are there in each child.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests import compiling
from tests.faults.crash import Case, small

compiling.once()
with tempfile.TemporaryDirectory() as _folder:
    _url = f"sqlite:///{_folder}/warm.db"
    _case = Case(name="warm", source=_url, target=_url, folder=Path(_folder))
    _case.build()
    _case.reset()
    with small(), _case.engine() as _engine:
        _case.go(_engine)
