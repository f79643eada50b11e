"""What front ends are given to show."""

from __future__ import annotations

from typing import Any

#: Plain values by name: what JSON has, and moments.
View = dict[str, Any]
