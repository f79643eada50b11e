"""What is compared where the command line does not say it: by which key, and all columns but excluded ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trueup.bound import Bound
from trueup.core.binding import Shape, near
from trueup.core.projection import Side
from trueup.declarations import checked
from trueup.errors import UsageError
from trueup.worded import NAME


@dataclass(frozen=True, kw_only=True, slots=True)
class Schemas:
    """What both sides have, before a projection can be declared; columns by the source's names."""

    shapes: Mapping[str, Shape]
    #: Primary keys of the two tables; empty where there is none.
    primary: Mapping[str, tuple[str, ...]]
    #: Columns that both sides have.
    shared: Sequence[str]


def schemas_of(declarations: Mapping[str, dict[str, Any]], sides: Bound) -> Schemas:
    declared = {
        role: checked(Side, declarations[role], f"projections.{NAME}.{role}", UsageError)
        for role in ("target", "source")
    }
    source, target = sides.shapes(NAME, declared["source"], declared["target"])
    shapes = {"target": target, "source": source}
    primary = {role: _primary(side, shapes[role]) for role, side in declared.items()}
    renamed = {there: here for here, there in declarations["target"].get("columns", {}).items()}
    theirs = {renamed.get(name, name) for name in shapes["target"].columns}
    return Schemas(shapes=shapes, primary=primary, shared=[c for c in shapes["source"].columns if c in theirs])


def _primary(side: Side, shape: Shape) -> tuple[str, ...]:
    """The primary key of a side, by the source's names."""
    back = {there: here for here, there in side.columns.items()}
    return tuple(back.get(name, name) for name in shape.primary)


def primary_key(schemas: Schemas) -> tuple[tuple[str, ...], str]:
    """The primary key of the target's table, or of the source's, if both sides have its columns; and whose it is.

    Raises UsageError that names what else could be the key.
    """
    for role, key in schemas.primary.items():
        if key and set(key) <= set(schemas.shared):
            return key, f"the {role}'s primary key"
    raise UsageError(_no_key(schemas.primary, schemas.shapes, schemas.shared))


def all_but(excluded: Sequence[str], key: Sequence[str], schemas: Schemas) -> tuple[str, ...]:
    """The columns of both sides without the key and the excluded ones.

    Raises UsageError for one that is not there.
    """
    for name in excluded:
        if name not in schemas.shared:
            raise UsageError(f"--exclude: no column {name!r} is on both sides; {near(name, schemas.shared)}")
        if name in key:
            raise UsageError(f"--exclude: rows belong together by {name!r}; name other columns for that with --key")
    left = tuple(name for name in schemas.shared if name not in key and name not in excluded)
    if not left:
        raise UsageError("--exclude leaves nothing to compare; to compare keys alone, give queries that select them")
    return left


def _no_key(primary: Mapping[str, tuple[str, ...]], shapes: Mapping[str, Shape], shared: Sequence[str]) -> str:
    """Why there is no key to compare by, and what could be one."""
    told = [f"the primary key of the {role} is {','.join(key)}" for role, key in primary.items() if key]
    why = f"{'; '.join(told)}, which the other side does not have" if told else "no primary key is known"
    unique = {",".join(sorted(index)) for shape in shapes.values() for index in shape.unique if index <= set(shared)}
    if unique:
        return f"say by which columns rows belong together, --key A,B: {why}; unique: {' or '.join(sorted(unique))}"
    if shared:
        return f"say by which columns rows belong together, --key A,B: {why}; both sides have {', '.join(shared)}"
    nearest = "; ".join(
        f"{name}: {near(name, shapes['target'].columns)}" for name in list(shapes["source"].columns)[:3]
    )
    return f"the two sides have no column in common, so no row belongs to another; {nearest}"
