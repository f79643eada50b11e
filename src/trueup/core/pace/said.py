"""What somebody has set on a database's pacing, as far as it is known here.

It is set on one node for all of them: another one may be of an older version, or have other profiles declared.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from trueup.core.pace.settings import Override


@dataclass(frozen=True, kw_only=True, slots=True)
class Understood:
    """What is known of it, and what is not."""

    override: Override = field(default_factory=Override)
    #: Settings that this version does not know, or whose values it does not; and a profile that is not declared here.
    unknown: tuple[str, ...] = ()

    def among(self, profiles: Collection[str]) -> Understood:
        """The same where these profiles are declared: of any other it is not known what it says."""
        profile = self.override.profile
        if not profile or profile in profiles:
            return self
        rest = self.override.model_copy(update={"profile": None})
        return Understood(override=rest, unknown=(*self.unknown, f"profile={profile}"))


def understood(text: str) -> Understood:
    """What an override says that was kept as JSON, by a node of this version or a newer one."""
    try:
        return Understood(override=Override.model_validate_json(text))
    except ValidationError:
        pass
    try:
        said = json.loads(text)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return Understood(unknown=("all of it",))
    known = {name: value for name, value in said.items() if _is_known(name, value)}
    return Understood(
        override=Override.model_validate(known), unknown=tuple(name for name in said if name not in known)
    )


def _is_known(name: str, value: Any) -> bool:
    try:
        Override.model_validate({name: value})
    except ValidationError:
        return False
    return True
