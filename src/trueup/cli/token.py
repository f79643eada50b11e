"""Commands about tokens: who may ask `trueup serve` for what, over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from cyclopts import App, Parameter

from trueup.cli.answers import opened
from trueup.cli.options import FILE, AsJson, Config

token = App(name="token", help="Tokens for the HTTP API: make one, see who has one, revoke it.")

RoleName = Annotated[
    Literal["viewer", "operator", "approver", "admin"],
    Parameter(name="--role", help="What it may do; each role may also do what those before it may."),
]


@token.command
def create(
    name: str,
    /,
    *,
    role: RoleName,
    expires: Annotated[str, Parameter(show_default=False)] = "",
    as_json: AsJson = False,
    config: Config = FILE,
) -> int:
    """Make a token and print it: this once, it is kept nowhere. What is done with it is done by NAME, in the record.

    Parameters
    ----------
    name
        The person or service that will use it.
    expires
        How long it counts, `90d`, or until when: `2027-01-01`. Default: until it is revoked.
    """
    from trueup.cli.tables import print_json

    with opened(config, as_json=as_json) as engine:
        secret = engine.tokens.create(name, role, now=engine.clock.now(), expires=expires, by=engine.actor)
    if as_json:
        print_json({"name": name.strip(), "role": role, "token": secret})
    else:
        print(secret)
    return 0


@token.default
@token.command(name="list")
def list_tokens(*, as_json: AsJson = False, config: Config = FILE) -> int:
    """Who has a token, what it permits, and until when; those that count no more too."""
    from trueup import views_serving
    from trueup.cli import tables

    with opened(config, as_json=as_json) as engine:
        rows = views_serving.tokens(engine)
    if not as_json:
        rows = [row | {"expires": _day(row["expires"]), "revoked": _day(row["revoked"])} for row in rows]
    return tables.put(rows, as_json=as_json, title="tokens", empty="no token yet; `trueup token create` makes one")


def _day(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


@token.command
def revoke(name: str, /, *, config: Config = FILE) -> int:
    """Take somebody's token back: servers refuse it within seconds."""
    with opened(config) as engine:
        engine.tokens.revoke(name, now=engine.clock.now(), by=engine.actor)
    print(f"{name}: revoked; servers refuse it within seconds")
    return 0
