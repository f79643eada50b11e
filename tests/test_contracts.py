"""The import contracts name every adapter and every kind of trigger: one that is not named would be bound by none."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def modules(package: str) -> set[str]:
    folder = ROOT / "src/trueup" / package
    return {f"trueup.{package}.{p.stem}" for p in folder.glob("*.py") if not p.stem.startswith("_")}


def test_every_adapter_and_every_kind_of_trigger_is_under_contract() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = config["tool"]["importlinter"]["contracts"]
    independent = [set(contract["modules"]) for contract in contracts if contract["type"] == "independence"]
    (protected,) = (set(contract["protected_modules"]) for contract in contracts if contract["type"] == "protected")
    assert independent == [modules("adapters"), modules("triggers")]
    assert protected == modules("adapters")
