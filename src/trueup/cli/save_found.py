"""`trueup discover --save`: what was found as projections in the configuration file; what is there is left alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trueup.cli import save
from trueup.core.counted import counted
from trueup.core.discover.facts import Sort
from trueup.core.discover.ideas import Kind
from trueup.core.discover.judge import Verdict
from trueup.urls import VARIABLE

if TYPE_CHECKING:
    from trueup.core.discover.judge import Proposal
    from trueup.discover import Found
    from trueup.sides import NamedSide

_NAME_MAX = 63
#: How far computed fractions may be apart.
_NEARLY = "0.000001"


def readable(path: Path) -> dict[str, Any]:
    """What the file declares. Raises ConfigError if nothing can be appended to it."""
    return save.declared_in(path)


def write(found: Found, named: NamedSide, path: Path) -> str:
    """Append the proposals; what was done, for people."""
    declared = readable(path)
    databases = save.Databases(path=path, known=dict(declared.get("databases", {})))
    taken = set(declared.get("projections", {}))
    database = databases.name(named, "app")
    blocks, left = [], []
    for proposal in found.proposals:
        name = _name(proposal)
        why = _unsaved(proposal, found, name, taken)
        if why:
            left.append(f"{proposal.column}: {why}")
            continue
        taken.add(name)
        blocks.append(_block(name, proposal, found, database))
    if blocks:
        save.append(path, "\n".join([*databases.lines, "\n\n".join(blocks)]) + "\n")
    told = [f"trueup: {counted(len(blocks), 'projection')} saved in {path}"]
    told += [f"set {name} to {what}" for name, what in databases.variables.items() if blocks]
    told += [f"not saved: {line}" for line in left]
    return "; ".join(told)


def _name(proposal: Proposal) -> str:
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", f"{proposal.idea.table}_{proposal.idea.column}")
    return plain[:_NAME_MAX]


def _unsaved(proposal: Proposal, found: Found, name: str, taken: set[str]) -> str:
    """Why a proposal is not saved; empty if it is."""
    query = found.queries[proposal.column]
    if proposal.verdict not in (Verdict.DRIFT, Verdict.RIGHT):
        return "no row says anything"
    if name in taken:
        return f"there is a projection {name} already"
    if not _key(proposal, found):
        return f"{proposal.idea.table} has no primary key"
    if VARIABLE.search(query) or "'''" in query:
        return "its query would be read as something else in the file"
    return ""


def _key(proposal: Proposal, found: Found) -> tuple[str, ...]:
    idea = proposal.idea
    return idea.path.on if idea.path and idea.groups else found.schema.tables[idea.table].key


def _block(name: str, proposal: Proposal, found: Found, database: str) -> str:
    idea, figures = proposal.idea, proposal.figures
    column = found.schema.column(idea.table, idea.column)
    told = f"{figures.wrong:,} of {figures.rows:,} wrong" if figures.wrong else f"right in all {figures.rows:,} rows"
    lines = [
        f"# {proposal.column}: {told}, {proposal.confidence} confidence.",
        *(f"# {reason}" for reason in (*proposal.reasons, proposal.sample) if reason),
        f"[projections.{name}]",
        f"description = {save.quoted(idea.formula)}",
        f"source = {{ database = {save.quoted(database)}, query = '''\n{_lines(found.queries[proposal.column])}''' }}",
        f"target = {{ database = {save.quoted(database)}, table = {save.quoted(idea.table)} }}",
        f"key = {save.quoted_list(_key(proposal, found))}",
        f"columns = {save.quoted_list((idea.column,))}",
        'on_missing = "report"',
    ]
    if idea.groups:
        nothing = "false" if idea.kind is Kind.EXISTS or column.sort is Sort.BOOLEAN else "0"
        lines.append(f"absent = {{ {save.quoted(idea.column)} = {nothing} }}")
        if column.nullable:
            lines.append(f'nulls = {{ {save.quoted(idea.column)} = "zero" }}')
    if Sort.FLOAT is column.sort or (column.sort is Sort.DECIMAL and idea.kind is not Kind.COPY):
        lines.append(f"tolerance = {{ {save.quoted(idea.column)} = {save.quoted(_NEARLY)} }}")
    return "\n".join([*lines, save.WRITERS])


def _lines(query: str) -> str:
    return "\n".join(f"  {line.rstrip()}" for line in query.splitlines())
