"""Numbers that the source issues for keys, and what it counts under them: the source's part of a repair whose target is
incremented by generations.

    lock the numbers of the keys -> raise them -> read the source in the next statement -> commit

Every transaction of the application that read a number before holds it shared until it ends. So our lock waits for it,
and the next statement, which has a new snapshot, sees its changes; whoever reads the number after us sees the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from trueup.adapters import Reader
from trueup.adapters._markers import inserted
from trueup.adapters._outcomes import by_key
from trueup.adapters._sql import SqlAdapter
from trueup.core.binding import Binding
from trueup.core.plan import Keys
from trueup.core.row import Key, Values, batch_of
from trueup.errors import DesignProblem


@dataclass(frozen=True, kw_only=True, slots=True)
class Counted:
    """What the source says of one key under a number that it issued for it."""

    number: int
    #: None: it has no row.
    values: Values | None


def numbered(
    source: Reader, binding: Binding, names: Mapping[Key, str], *, beyond: Mapping[Key, int], wait: bool
) -> dict[Key, Counted]:
    """Raise the numbers of keys by their names, and read the source under them; committed when this returns.

    They are raised beyond those that the target has (`beyond`): a source that was restored has older ones, and all that
    is counted under such a number counts nowhere.

    A number that the application holds is passed over, unless `wait`; its key is not in the answer.
    Raises DesignProblem where the source cannot issue numbers.
    """
    writing = source.capabilities.writing
    if not isinstance(source, SqlAdapter) or not (writing.row_locks or writing.single_writer):
        raise DesignProblem(
            f"{binding.projection.name}: its source cannot issue numbers under a lock; nothing was written"
        )
    numbers = _table(binding.projection.numbers)
    keys = {name: key for key, name in names.items()}
    with source.writing() as connection:
        held = (
            sa.select(numbers.c.name, numbers.c.number).where(numbers.c.name.in_(list(keys))).order_by(numbers.c.name)
        )
        there = connection.execute(sa.select(numbers.c.name).where(numbers.c.name.in_(list(keys)))).scalars().all()
        for name in sorted(set(keys) - set(there)):
            inserted(connection, source.insert_if_absent(numbers, {"name": name, "number": 0}))
        locked = {row.name: int(row.number) for row in connection.execute(source.locking(held, wait=wait))}
        found = {name: max(number, beyond.get(keys[name], 0)) + 1 for name, number in locked.items()}
        if not found:
            return {}
        connection.execute(
            numbers.update()
            .where(numbers.c.name == sa.bindparam("the_name"))
            .values(number=sa.bindparam("the_number", type_=sa.BigInteger)),
            [{"the_name": name, "the_number": number} for name, number in found.items()],
        )
        part = Keys(keys=tuple(keys[name] for name in found))
        statement = source.relations.rows(binding.source, part, tokens=False, order=False)
        rows = source.answered(connection, statement)
        width = len(binding.key_kinds)
        values = by_key([batch_of(rows, binding.kinds, width, tokens=False).clean(binding.value_kinds)])
    return {keys[name]: Counted(number=number, values=values.get(keys[name])) for name, number in found.items()}


def _table(name: str) -> sa.TableClause:
    schema, _, table = name.rpartition(".")
    columns = sa.column("name", sa.String), sa.column("number", sa.BigInteger)
    return sa.table(table, *columns, schema=schema or None)
