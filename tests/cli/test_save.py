"""`trueup diff --save NAME`: a projection that can be used, without a secret."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

import trueup
from tests.cli.shop import SCHEMA, Ran, Shop

BOTH = ("sqlite:///app.db#src", "sqlite:///app.db#tgt")


@pytest.fixture
def drifted(shop: Shop) -> Shop:
    shop.fill([(1, 10), (2, 20), (3, 30)], [(1, 10), (2, 99), (4, 40)])
    (shop.folder / "trueup.toml").unlink()
    return shop


def saved(shop: Shop, file: str = "trueup.toml") -> dict[str, Any]:
    return tomllib.loads((shop.folder / file).read_text(encoding="utf-8"))


def counts(ran: Ran) -> dict[str, Any]:
    return {name: ran.report[name] for name in ("missing", "extra", "different", "different_by_column", "drift")}


def without_reasons(found: dict[str, Any]) -> dict[str, Any]:
    """A projection says why it would leave a row alone; a diff has no policy to say that of."""
    for row in found["drift"]:
        row.pop("reason", None)
    return found


def test_what_was_saved_finds_the_same(drifted: Shop) -> None:
    ran = drifted.run("diff", *BOTH, "--save", "counts", "--settle", "50ms", "--json")
    assert ran.code == 1
    assert "saved as counts in trueup.toml" in ran.err
    again = drifted.run("check", "counts", "--json")
    assert again.code == 1
    assert without_reasons(counts(again)) == without_reasons(counts(ran))
    assert saved(drifted)["projections"]["counts"]["settle"] == "0.05s"


def test_where_nothing_can_be_saved_is_told_before_anything_is_compared(drifted: Shop) -> None:
    ran = drifted.run("diff", *BOTH, "--save", "counts", "--config", "nosuch/trueup.toml")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "trueup: --save counts: nosuch/trueup.toml cannot be written; name another place with --config\n"
    )


def test_it_can_be_repaired_once_it_is_said_how_the_application_writes(drifted: Shop) -> None:
    drifted.run("diff", *BOTH, "--save", "counts")
    refused = drifted.run("run")
    assert (refused.code, "writers" in refused.err) == (2, True)
    path = drifted.folder / "trueup.toml"
    path.write_text(path.read_text().replace("# writers =", "writers ="))
    ran = drifted.run("run", "--json")
    assert (ran.report["repaired"], drifted.target[:3]) == (2, [(1, 10, None), (2, 20, None), (3, 30, None)])


def test_everything_that_was_asked_is_in_it(drifted: Shop) -> None:
    target = "sqlite:///app.db#SELECT id AS number, n, \"email\" FROM tgt -- it's\n  WHERE id <> '\\'"
    asked = ["--key", "id", "--map", "id=number", "--columns", "email,n", "--sensitive", "email"]
    asked += ["--tolerance", "n=1%", "--nulls", "n=zero,email=unknown", "--exact"]
    ran = drifted.run("diff", BOTH[0], target, *asked, "--save", "counts")
    assert ran.code == 1
    assert saved(drifted)["projections"]["counts"] == {
        "source": {"database": "counts", "table": "src"},
        "target": {"database": "counts", "query": target.partition("#")[2], "columns": {"id": "number"}},
        "key": ["id"],
        "columns": ["email", "n"],
        "sensitive": ["email"],
        "tolerance": {"n": "1%"},
        "nulls": {"n": "zero", "email": "unknown"},
        "exact": True,
    }
    assert saved(drifted)["databases"] == {"counts": {"url": "sqlite:///app.db"}}
    with trueup.load(drifted.folder / "trueup.toml") as engine:
        assert engine.binding("counts", writing=False).columns == ("email", "n")


def test_a_name_that_is_there_is_not_overwritten(drifted: Shop) -> None:
    drifted.run("diff", *BOTH, "--save", "counts")
    before = (drifted.folder / "trueup.toml").read_bytes()
    ran = drifted.run("diff", *BOTH, "--save", "counts", "--output", "d.csv")
    assert (ran.code, ran.out) == (2, "")
    assert "choose another" in ran.err
    assert (drifted.folder / "trueup.toml").read_bytes() == before
    assert not (drifted.folder / "d.csv").exists()  # told before anything was compared


@pytest.mark.parametrize("name", ["a.b", "a b", "", "[x]", "ü", "x" * 64])
def test_a_name_that_would_not_be_one_is_refused(drifted: Shop, name: str) -> None:
    assert drifted.run("diff", *BOTH, "--save", name).code == 2
    assert not (drifted.folder / "trueup.toml").exists()


def test_what_is_in_the_file_stays_and_its_databases_are_used(shop: Shop) -> None:
    shop.fill([(1, 10)], [(1, 11)])
    path = shop.folder / "trueup.toml"
    path.write_text("# ours\n" + path.read_text().rstrip("\n"))
    before = path.read_text()
    shop.sql(SCHEMA.format("tgt"), database="other")
    assert shop.run("diff", BOTH[0], "sqlite:///other.db#tgt", "--save", "q").code == 1
    assert path.read_text().startswith(before)
    databases = saved(shop)["databases"]
    assert databases == {"app": {"url": "sqlite:///app.db"}, "q_target": {"url": "sqlite:///other.db"}}
    assert saved(shop)["projections"]["q"]["source"] == {"database": "app", "table": "src"}
    assert shop.run("diff", BOTH[0], "sqlite:///other.db#tgt", "--save", "q2").code == 1
    assert saved(shop)["databases"] == databases


def test_a_file_elsewhere_finds_the_databases_from_there(drifted: Shop) -> None:
    (drifted.folder / "conf").mkdir()
    assert drifted.run("diff", *BOTH, "--save", "counts", "--config", "conf/t.toml").code == 1
    assert saved(drifted, "conf/t.toml")["databases"]["counts"]["url"] == "sqlite:///../app.db"
    assert drifted.run("explain", "counts", "--config", "conf/t.toml").code == 0
    ran = drifted.run("diff", *BOTH, "--save", "more", "--config", "conf/t.toml")
    assert (ran.code, list(saved(drifted, "conf/t.toml")["databases"])) == (1, ["counts"])


def test_a_file_that_cannot_be_read_is_left_alone(drifted: Shop) -> None:
    (drifted.folder / "trueup.toml").write_text("[databases")
    ran = drifted.run("diff", *BOTH, "--save", "counts")
    assert ran.code == 2
    assert "trueup.toml" in ran.err
    assert (drifted.folder / "trueup.toml").read_text() == "[databases"


# --- secrets ---------------------------------------------------------------------------------------------------------


def with_password(url: str, password: str) -> str:
    scheme, _, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}://{user.partition(':')[0] or 'postgres'}:{password}@{host if at else rest}"


def test_a_password_becomes_a_variable(drifted: Shop, postgres: str) -> None:
    """The server asks for none, so that what comes back in the variable can be any."""
    url = with_password(postgres, "canary%2F77")
    ran = drifted.run("diff", f"{url}#SELECT 1::bigint AS id, 2 AS n", BOTH[1], "--key", "id", "--save", "counts")
    assert ran.code == 1, ran.err
    text = (drifted.folder / "trueup.toml").read_text()
    assert "canary" not in text + ran.out + ran.err
    assert "set COUNTS_SOURCE_PASSWORD to the password of" in ran.err
    assert saved(drifted)["databases"]["counts_source"]["url"] == with_password(postgres, "${COUNTS_SOURCE_PASSWORD}")
    missing = drifted.run("explain", "counts")
    assert missing.code == 2
    assert "'COUNTS_SOURCE_PASSWORD' is not set" in missing.err
    assert drifted.run("explain", "counts", environment={"COUNTS_SOURCE_PASSWORD": "any"}).code == 0


def test_a_variable_stays_one(drifted: Shop, postgres: str) -> None:
    url = with_password(postgres, "${CANARY}")
    ran = drifted.run(
        *("diff", f"{url}#SELECT 1::bigint AS id, 2 AS n", BOTH[1], "--key", "id", "--save", "counts"),
        environment={"CANARY": "canary-77"},
    )
    assert ran.code == 1, ran.err
    assert "canary-77" not in (drifted.folder / "trueup.toml").read_text() + ran.out + ran.err
    assert saved(drifted)["databases"]["counts_source"]["url"] == url


def test_a_secret_elsewhere_in_the_url_becomes_a_variable(drifted: Shop, postgres: str) -> None:
    url = f"{postgres}?sslpassword="
    query = "#SELECT 1::bigint AS id, 2 AS n"
    ran = drifted.run("diff", f"{url}canary-77{query}", BOTH[1], "--key", "id", "--save", "counts")
    assert ran.code == 1, ran.err
    assert "canary" not in (drifted.folder / "trueup.toml").read_text() + ran.out + ran.err
    assert saved(drifted)["databases"]["counts_source"]["url"] == f"{url}${{COUNTS_SOURCE_SSLPASSWORD}}"
    environment = {"COUNTS_SOURCE_SSLPASSWORD": "canary-77"}
    assert drifted.run("explain", "counts", environment=environment).code == 0


def test_a_query_that_a_file_would_read_otherwise_is_refused(drifted: Shop) -> None:
    target = "sqlite:///app.db#SELECT id, n, '${HOME}' AS email FROM tgt"
    assert drifted.run("diff", BOTH[0], target, "--key", "id").code == 1
    ran = drifted.run("diff", BOTH[0], target, "--key", "id", "--save", "counts")
    assert ran.code == 2
    assert "would be read as a variable" in ran.err
