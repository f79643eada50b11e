"""Whatever is sent, the answer is what the OpenAPI document says: each route, with each role, with input that fits it
and input that does not.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from tests.api.worlds import Api
from trueup.api import auth
from trueup.core.roles import Role

#: Requests to one route, that fit it: for who may do everything, and for the others. Of those that do not fit: few.
EXAMPLES, FEW = 2, 1
#: Another test sees that no route lets in who has no token, at a third of the price. What fits its shape may still mean
#: nothing (the 31st of February), and a parameter that nobody knows is passed over.
NOT_HERE = [ignored_auth, positive_data_acceptance, negative_data_rejection]


@pytest.fixture
def names(small: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """What is there to be named in a path: a projection with drift, a run, a plan, a request."""
    monkeypatch.setattr(auth, "FAILED_MAX", 10**6)
    small.world.drift(1, 2)
    planned = small.done("/v1/projections/p/plan")
    found = {"name": "p", "run": planned["run"], "request": planned["request"], "database": "held", "seq": "0"}
    found |= {"backfill": small.backfill(tmp_path)}
    return {**found, "plan": small.get(f"/v1/runs/{planned['run']}")["left_plan"], "person": "nobody"}


@pytest.mark.parametrize("role", ["", *Role])
def test_every_route_answers_as_it_says(small: Api, names: dict[str, str], role: str) -> None:
    admin = {"Authorization": f"Bearer {small.tokens['admin']}", "Host": "localhost"}
    schema = schemathesis.openapi.from_asgi("/openapi.json", small.client.app, headers=admin)
    headers = {"Host": "localhost"} | ({"Authorization": f"Bearer {small.tokens[role]}"} if role else {})
    looked: list[int] = []
    everything = role == Role.ADMIN

    def holds(case: schemathesis.Case) -> None:
        if case.meta and case.meta.generation.mode is GenerationMode.POSITIVE and len(looked) % 2:
            case.path_parameters = {name: names[name] for name in case.path_parameters or {}}
        answer = case.call_and_validate(headers=headers, excluded_checks=NOT_HERE)
        assert answer.status_code < 500
        looked.append(answer.status_code)

    for found in schema.get_all_operations():
        operation = found.ok()
        _each(operation.as_strategy(generation_mode=GenerationMode.POSITIVE), holds, EXAMPLES if everything else FEW)
        if everything:
            _each(operation.as_strategy(generation_mode=GenerationMode.NEGATIVE), holds, FEW)
    assert len(looked) > 40
    if everything:
        assert {200, 202, 404, 422} <= set(looked)


def _each(strategy: object, holds: object, examples: int) -> None:
    plain = settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with suppress(Unsatisfiable):  # nothing is sent to this route that could be wrong
        plain(given(strategy)(holds))()  # type: ignore[arg-type]
