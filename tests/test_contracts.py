"""The import contracts name every adapter: one that is not named would be bound by none of them."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_adapter_is_under_contract() -> None:
    folder = ROOT / "src/trueup/adapters"
    adapters = {f"trueup.adapters.{p.stem}" for p in folder.glob("*.py") if not p.stem.startswith("_")}
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {c["type"]: c for c in config["tool"]["importlinter"]["contracts"]}
    assert set(contracts["independence"]["modules"]) == adapters
    assert set(contracts["protected"]["protected_modules"]) == adapters
