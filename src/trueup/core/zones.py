"""Time zones as people name them."""

from __future__ import annotations

import difflib
import zoneinfo


def zone_problem(name: str) -> str:
    """Why `name` is no time zone, with the nearest one that is; empty if it is one."""
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        near = difflib.get_close_matches(name, zoneinfo.available_timezones(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "names look like 'Europe/Berlin'"
        return f"there is no time zone {name!r}; {hint}"
    return ""
