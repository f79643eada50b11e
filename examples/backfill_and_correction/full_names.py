"""Fills the new column `full_name`."""

backfill = {
    "table": "customers",
    "key": "id",
    "reads": ["first", "last"],
    "writes": ["full_name"],
    "select": "full_name IS NULL",
    "owner": "crm-team",
}


def fix(row):
    if not row["last"]:
        raise ValueError("no last name")
    row["full_name"] = f"{row['first']} {row['last']}"
    return row
