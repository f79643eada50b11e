"""What `trueup diff` says that the differences have in common, from what it read anyway."""

from __future__ import annotations

import pytest

import trueup
from tests.cli.shop import SCHEMA, Shop
from trueup import comparison, sample
from trueup.adapters._sql import SqlAdapter

BOTH = ("sqlite:///app.db#src", "sqlite:///app.db#tgt")
APART = ("sqlite:///app.db#src", "sqlite:///other.db#tgt")
ONE_MORE = "all 40 rows: `n` is exactly 1 too high"


@pytest.fixture
def shop_with_causes(shop: Shop) -> Shop:
    """Forty of 400 rows are one too high, in the same file and in another."""
    rows = [(n, n * n) for n in range(400)]
    spoilt = [(n, value + (n % 10 == 3)) for n, value in rows]
    shop.fill(rows, spoilt)
    shop.sql(SCHEMA.format("tgt"), database="other")
    shop.sql(*(f"INSERT INTO tgt VALUES ({n}, {value}, NULL)" for n, value in spoilt), database="other")
    return shop


@pytest.mark.parametrize("sides", [BOTH, APART], ids=["one database", "two"])
@pytest.mark.parametrize("settle", ["0s", "1ms"])
def test_it_stands_under_the_rows_and_in_the_document(
    shop_with_causes: Shop, sides: tuple[str, str], settle: str
) -> None:
    ran = shop_with_causes.run("diff", *sides, "--columns", "n", "--settle", settle, "--rows", "3")
    assert ran.out.rstrip().splitlines()[-1] == f"  in common: {ONE_MORE}"
    report = shop_with_causes.run("diff", *sides, "--columns", "n", "--settle", settle, "--json").report
    (cause,) = report["causes"]
    assert cause == {"sentence": ONE_MORE, "kind": "offset", "rows": 40, "share": 1.0, "usual": None}


def test_lines_have_it_in_their_summary(shop_with_causes: Shop) -> None:
    """stdout has rows and nothing else; where they go to a file, it has the summary."""
    ran = shop_with_causes.run("diff", *BOTH, "--format", "csv")
    assert "in common" not in ran.out
    assert ONE_MORE in ran.err
    ran = shop_with_causes.run("diff", *BOTH, "--output", "found.jsonl")
    assert ONE_MORE in ran.out
    assert "in common" not in (shop_with_causes.folder / "found.jsonl").read_text()


def test_few_differences_and_those_within_a_tolerance_have_none(shop_with_causes: Shop) -> None:
    shop_with_causes.sql("UPDATE tgt SET n = n + 7 WHERE id < 7")
    assert "in common" not in shop_with_causes.run("diff", *BOTH, "--tolerance", "n=1").out
    told = shop_with_causes.run("diff", *BOTH).out  # positive control
    assert "`n` is exactly 1 too high" in told


def test_of_a_sensitive_column_nothing_is_told(shop_with_causes: Shop) -> None:
    assert "too high" not in shop_with_causes.run("diff", *BOTH, "--sensitive", "n").out


@pytest.mark.parametrize("size", [64 * 2**20, 500_000], ids=["control", "little"])
def test_of_large_rows_fewer_are_kept(shop: Shop, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """Most rows have 20,000 characters on both sides together, and some nearly none."""
    shop.sql("CREATE TABLE a (id INTEGER PRIMARY KEY, v TEXT, n INTEGER)")
    shop.sql("CREATE TABLE b (id INTEGER PRIMARY KEY, v TEXT, n INTEGER)")
    numbers = "WITH RECURSIVE s (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 200)"
    shop.sql(f"INSERT INTO a {numbers} SELECT i, hex(zeroblob(5000 * (i % 5 > 0))), i FROM s")
    shop.sql("INSERT INTO b SELECT id, v, n + 1 FROM a")
    monkeypatch.chdir(shop.folder)
    monkeypatch.setattr(sample, "SAMPLE_SIZE", size)
    made: list[sample.Sample] = []

    def noted() -> sample.Sample:
        made.append(sample.Sample())
        return made[-1]

    monkeypatch.setattr(comparison, "Sample", noted)
    cause = trueup.diff("sqlite:///app.db#a", "sqlite:///app.db#b").causes[0]
    kept = made[0].rows
    assert sum(map(sample.size_of, kept)) <= size
    if size < 10**6:
        assert 20 <= len(kept) <= 40
        assert cause["sentence"] == f"all of a sample of {len(kept)} rows: `n` is exactly 1 too high"
    else:
        assert cause["sentence"] == "all 200 rows: `n` is exactly 1 too high"


def test_of_many_differences_a_sample_is_looked_at(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tenant's come last, and most: the first ones would not have known. No statement is asked besides."""
    tenants = [(tenant, n) for tenant in range(40) for n in range(10)] + [(77, n) for n in range(1600)]
    table = "CREATE TABLE {} (tenant INTEGER, id INTEGER, n INTEGER, PRIMARY KEY (tenant, id))"
    shop.sql(table.format("a"), table.format("b"))
    shop.sql(*(f"INSERT INTO a VALUES ({tenant}, {n}, {tenant * n})" for tenant, n in tenants))
    shop.sql("INSERT INTO b SELECT tenant, id, n + 1 FROM a")
    monkeypatch.chdir(shop.folder)
    monkeypatch.setattr(sample, "SAMPLE_ROWS", 300)
    monkeypatch.setattr(SqlAdapter, "tally", None)
    sides = ("sqlite:///app.db#a", "sqlite:///app.db#b")
    report = trueup.diff(*sides)
    assert report.different == 2000
    told = {cause["kind"]: cause for cause in report.causes}
    assert told["offset"]["sentence"] == "all of a sample of 300 rows: `n` is exactly 1 too high"
    tenant = told["key_value"]
    assert tenant["sentence"].endswith("%): `tenant` is 77")
    assert tenant["share"] == pytest.approx(0.8, abs=0.1)
    assert trueup.diff(*sides).causes == report.causes
