"""What can be known about a user's query without running it.

SQLGlot only reads here: users' SQL stays in the users' dialect and is sent as it was written. A query that SQLGlot
cannot parse is left to the database, which sees it as a sub-select in a read-only transaction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

#: Characters of the name of an index; MariaDB takes 64.
NAME_MAX = 60


def problem(query: str, dialect: str) -> str:
    """Why `query` is not one SELECT that only reads; empty if it is."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if not query.strip():
        return "the query is empty"
    try:
        parsed = sqlglot.parse(bare(query, dialect), dialect=dialect)
    except SqlglotError:
        return ""
    statements = [statement for statement in parsed if statement is not None]
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
    if statement.find(exp.Lock):
        return "the query locks rows; a source is only read"
    return ""


@lru_cache(maxsize=256)
def bare(query: str, dialect: str) -> str:
    """The query without the semicolons at its end, nor the comments behind them: it is sent as a sub-select."""
    import sqlglot
    from sqlglot import TokenType
    from sqlglot.errors import SqlglotError

    try:
        tokens = sqlglot.tokenize(query, dialect=dialect)
    except SqlglotError:
        return query.strip().rstrip(";").rstrip()
    end = len(query)
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        end = tokens.pop().start
    return query[:end].strip()


def groups_by(query: str, dialect: str, key: tuple[str, ...]) -> bool:
    """True if the query's GROUP BY makes `key` unique in its result. False also where that cannot be told."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        statement = sqlglot.parse_one(bare(query, dialect), dialect=dialect)
    except SqlglotError:
        return False
    if not isinstance(statement, exp.Select):
        return False
    group = statement.args.get("group")
    if group is None or any(group.args.get(name) for name in ("grouping_sets", "cube", "rollup", "totals", "all")):
        return False
    # A function that is not known may return many rows for each group.
    if any(item.find(exp.UDTF, exp.GenerateSeries, exp.JSONTable, exp.Anonymous) for item in statement.selects):
        return False
    outputs = [_unnamed(item) for item in statement.selects]
    names = [item.alias_or_name for item in statement.selects]
    # A name in GROUP BY is an input column before it is an alias: only a result that is that column counts.
    columns = {out.name: name for out, name in zip(outputs, names, strict=True) if isinstance(out, exp.Column)}
    grouped: set[str] = set()
    for item in group.expressions:
        if isinstance(item, exp.Literal) and item.is_int and 0 < int(item.this) <= len(names):
            grouped.add(names[int(item.this) - 1])
        elif item in outputs:
            grouped.add(names[outputs.index(item)])
        elif isinstance(item, exp.Column) and not item.table and item.name in columns:
            grouped.add(columns[item.name])
        else:
            return False
    return grouped <= set(key)


def _unnamed(item: object) -> object:
    from sqlglot import exp

    return item.this if isinstance(item, exp.Alias) else item


def tables_of(query: str, dialect: str) -> list[str]:
    """Tables that `query` reads, as it names them, without its own CTEs; empty where that cannot be told."""
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        statement = sqlglot.parse_one(bare(query, dialect), dialect=dialect)
    except SqlglotError:
        return []
    own = {cte.alias for cte in statement.find_all(exp.CTE)}
    named = (".".join(part.name for part in table.parts) for table in statement.find_all(exp.Table))
    return sorted({name for name in named if name and name not in own})


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """An index that there could be."""

    #: As a side names it.
    table: str
    key: tuple[str, ...]
    #: Further columns that it would hold.
    others: tuple[str, ...] = ()
    unique: bool = False

    def is_one_of(self, indexes: Sequence[Sequence[str]]) -> bool:
        """Does one of these, by their columns in any case, serve as this one would?"""
        key, others = ([name.casefold() for name in names] for names in (self.key, self.others))
        there = ([name.casefold() for name in index] for index in indexes)
        return any(index[: len(key)] == key and {*others} <= {*index} for index in there)

    def statement(self, dialect: str) -> str:
        """CREATE INDEX, as a person may copy it."""
        from sqlglot import exp

        def quoted(name: str) -> str:
            return exp.to_identifier(name, quoted=True).sql(dialect=dialect)

        *schema, table = map(quoted, self.table.split("."))
        place = table if dialect == "sqlite" else ".".join([*schema, table])
        key, others = list(map(quoted, self.key)), list(map(quoted, self.others))
        create = "CREATE UNIQUE INDEX" if self.unique else "CREATE INDEX"
        if others and dialect == "postgres":  # an index alone answers only for what was vacuumed
            return f"{create} ON {place} ({', '.join(key)}) INCLUDE ({', '.join(others)}); VACUUM {place}"
        named = re.sub(r"\W", "_", f"trueup_{self.table}_{'_'.join(self.key)}").lower()[:NAME_MAX]
        if dialect == "sqlite":  # where a schema stands before the name of the index
            named = ".".join([*schema, named])
        name = "" if dialect == "postgres" else f"{named} "  # which makes a name of its own
        return f"{create} {name}ON {place} ({', '.join([*key, *others])})"


def index_for(query: str, dialect: str, key: tuple[str, ...]) -> Index | None:
    """The index that lets `query` be read by ranges of `key` without touching its table; None where that is not clear.

    Only for a query that groups or filters one table; the key columns lead, the others that it uses follow.
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError
    from sqlglot.optimizer.normalize_identifiers import normalize_identifiers

    try:
        statement = sqlglot.parse_one(bare(query, dialect), dialect=dialect)
    except SqlglotError:
        return None
    if not isinstance(statement, exp.Select) or statement.args.get("joins"):
        return None
    statement = normalize_identifiers(statement, dialect=dialect)
    tables = list(statement.find_all(exp.Table))
    every_column = any(not star.find_ancestor(exp.Count) for star in statement.find_all(exp.Star))
    if len(tables) != 1 or every_column or statement.find(exp.Subquery):
        return None
    if not all(isinstance(part, exp.Identifier) for part in tables[0].parts):  # a function
        return None
    outputs = {item.alias_or_name: _unnamed(item) for item in statement.selects}
    leading = [outputs.get(name) for name in key]
    names = tuple(item.name for item in leading if isinstance(item, exp.Column))
    if len(names) != len(key):
        return None
    others = sorted({column.name for column in statement.find_all(exp.Column)} - set(names))
    return Index(table=".".join(part.name for part in tables[0].parts), key=names, others=tuple(others))
