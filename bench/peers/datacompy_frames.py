"""datacompy on polars: both tables are read through ADBC, whole, and compared in memory.

Task: source, target (PostgreSQL URLs), source_table, target_table, key (one column), columns.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import adbc_driver_postgresql.dbapi
import datacompy
import polars
import pyarrow
from _told import Found, Task, answer


def _read(url: str, table: str, columns: list[str]) -> polars.DataFrame:
    with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(columns)} FROM {table}")
        found = cursor.fetch_arrow_table()
    # A numeric comes as an opaque extension type, which polars does not know: its storage is exact text.
    plain = [
        column.cast(column.type.storage_type) if isinstance(column.type, pyarrow.BaseExtensionType) else column
        for column in found.columns
    ]
    frame = polars.from_arrow(pyarrow.table(plain, names=found.column_names))
    assert isinstance(frame, polars.DataFrame)
    return frame


def compare(task: Task) -> Found:
    key, columns = task["key"][0], [*task["key"], *task["columns"]]
    with ThreadPoolExecutor(2) as both:
        reads = [both.submit(_read, task[side], task[f"{side}_table"], columns) for side in ("source", "target")]
        source, target = (read.result() for read in reads)
    compared = datacompy.PolarsCompare(source, target, join_columns=[key])
    found: Found = [[str(value), "missing"] for value in compared.df1_unq_rows[key]]
    found += [[str(value), "extra"] for value in compared.df2_unq_rows[key]]
    if not compared.matches():
        found += [[str(value), "different"] for value in compared.all_mismatch()[key]]
    return found


if __name__ == "__main__":
    answer(compare)
