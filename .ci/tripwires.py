"""Fail when a file or function of src outgrows its budget without saying why.

The budgets are tripwires that ask for a reason, not laws. The reason is a comment:

    # tripwire: one table, a line a state; splitting it would hide the missing ones

above the first statement for a file (after its docstring is fine), directly above a function (or its
decorators) or on its `def` line for a function. A comment without a reason, and one that nothing
needs any more, fail too.

    python3 .ci/tripwires.py [FOLDER]      (src)
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 70

_COMMENT = re.compile(r"#\s*tripwire:\s*(.*)$")
_ENOUGH = 12  # characters: "legacy" is no reason


def check(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    tree = ast.parse(text, str(path))
    unused = {n: m[1].strip() for n, line in enumerate(lines, 1) if (m := _COMMENT.search(line))}

    def excused(places: range) -> bool:
        reasons = [unused.pop(n) for n in places if n in unused]
        return any(len(reason) >= _ENOUGH for reason in reasons)

    if len(lines) > FILE_LINES and not excused(range(1, _first_statement(tree, len(lines)))):
        yield f"{path}: {len(lines)} lines, budget {FILE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            top = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            while top > 1 and lines[top - 2].lstrip().startswith("#"):
                top -= 1
            if length > FUNCTION_LINES and not excused(range(top, node.body[0].lineno)):
                yield f"{path}:{node.lineno}: {node.name} has {length} lines, budget {FUNCTION_LINES}"
    for n in unused:
        yield f"{path}:{n}: this tripwire comment excuses nothing; remove it"


def _first_statement(tree: ast.Module, end: int) -> int:
    body = tree.body[1:] if ast.get_docstring(tree, clean=False) is not None else tree.body
    return body[0].lineno if body else end + 1


def main(folder: str = "src") -> int:
    files = sorted(Path(folder).rglob("*.py"))
    found = [line for path in files for line in check(path)]
    for line in found:
        print(line)
    if not files:
        print(f"{folder}: no Python file found")
    return 1 if found or not files else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
