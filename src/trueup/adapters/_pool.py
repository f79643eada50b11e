"""Connections are tried before they are used again, but not those that were in use a moment ago.

A trial is a round trip. A statement that is to take 20 ms beside others would spend a good part of that time on it: on
a busy machine each round trip waits for a core twice. A connection that has gone in that moment is an error like one
that goes in the middle of a statement: a run tries again.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import InvalidatePoolError

#: A connection that was in use so lately, seconds, is used again without a trial.
TRUSTED_S = 2.0
_BACK = "trueup_back_at"


def try_idle(engine: sa.Engine) -> None:
    """From now on connections of `engine` that have lain idle are tried before they are used again; if one is gone, so
    are all that are as old.
    """

    def given_back(_driver: object, record: Any) -> None:
        record.info[_BACK] = monotonic()

    def taken(driver: Any, record: Any, _proxy: object) -> None:
        back = record.info.pop(_BACK, None)
        if back is None or monotonic() - back < TRUSTED_S:
            return
        try:
            engine.dialect.do_ping(driver)
        except engine.dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError(str(error)) from error

    sa.event.listen(engine, "checkin", given_back)
    sa.event.listen(engine, "checkout", taken)
