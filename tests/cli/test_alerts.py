"""`trueup alerts` and `trueup alerts test`, as a user types them."""

from __future__ import annotations

from tests.alerting.receivers import web
from tests.cli.shop import Shop


def declare(shop: Shop, *lines: str) -> None:
    shop.write()
    with (shop.folder / "trueup.toml").open("a") as file:
        file.write("\n".join(["[alerts]", *lines, ""]))


def test_alerts_are_listed_and_tried(shop: Shop) -> None:
    shop.declare()
    assert shop.run("alerts").out.strip() == "no alert is firing"
    assert shop.run("alerts", "test").code == 3
    with web() as got:
        to = f'to = "json://127.0.0.1:{got.port}/T0KEN"'
        declare(shop, to)
        refused = shop.run("alerts", "test", "--json")
        assert refused.code == 3
        assert "alerts.allow_private = true permits it" in refused.json["destinations"][0]["why"]
        declare(shop, to, "allow_private = true")
        tried = shop.run("alerts", "test")
        assert tried.code == 0, tried
        assert "T0KEN" not in refused.out + tried.out + tried.err
    assert [each["title"] for each in got.got] == ["Trueup: a test"]
    declare(shop, 'repeat = "never"', to)
    wrong = shop.run("alerts")
    assert wrong.code == 2
    assert "alerts.repeat" in wrong.err
    assert "T0KEN" not in wrong.err
