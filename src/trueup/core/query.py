"""What can be known about a user's query without running it.

SQLGlot only reads here: users' SQL stays in the users' dialect and is sent as it was written. A query that SQLGlot
cannot parse is left to the database, which sees it as a sub-select in a read-only transaction.
"""

from __future__ import annotations


def problem(query: str, dialect: str) -> str:
    """Why `query` is not one SELECT that only reads; empty if it is."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if not query.strip():
        return "the query is empty"
    try:
        statements = [statement for statement in sqlglot.parse(query, dialect=dialect) if statement is not None]
    except SqlglotError:
        return ""
    if len(statements) != 1:
        return f"the query holds {len(statements)} statements; give one SELECT"
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        return f"the query is a {statement.key.upper()}; give one SELECT"
    for kind in (exp.Insert, exp.Update, exp.Delete, exp.Merge):
        if statement.find(kind):
            return f"the query contains {kind.key.upper()}; a source is only read"
    if statement.find(exp.Into):
        return "the query has SELECT INTO; a source is only read"
    return ""


def groups_by(query: str, dialect: str, key: tuple[str, ...]) -> bool:
    """True if the query's GROUP BY makes `key` unique in its result. False also where that cannot be told."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        statement = sqlglot.parse_one(query, dialect=dialect)
    except SqlglotError:
        return False
    if not isinstance(statement, exp.Select):
        return False
    group = statement.args.get("group")
    if group is None or any(group.args.get(name) for name in ("grouping_sets", "cube", "rollup", "totals", "all")):
        return False
    outputs = [_bare(item) for item in statement.selects]
    names = [item.alias_or_name for item in statement.selects]
    grouped: set[str] = set()
    for item in group.expressions:
        if isinstance(item, exp.Literal) and item.is_int and 0 < int(item.this) <= len(names):
            grouped.add(names[int(item.this) - 1])
        elif item in outputs:
            grouped.add(names[outputs.index(item)])
        elif isinstance(item, exp.Column) and not item.table and item.name in names:
            grouped.add(item.name)
        else:
            return False
    return grouped <= set(key)


def _bare(item: object) -> object:
    from sqlglot import exp

    return item.this if isinstance(item, exp.Alias) else item
