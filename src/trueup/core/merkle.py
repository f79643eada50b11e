"""A Merkle tree over an append-only log, as RFC 9162 (Certificate Transparency, section 2.1) hashes it.

A leaf is SHA-256(0x00, entry), an inner node SHA-256(0x01, left, right). A chain of hashes would need the whole file to
show that an old state is the beginning of a newer one; a tree shows it with about two hashes for each doubling.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

#: Root of a log without entries.
EMPTY = hashlib.sha256().digest()


def leaf_hash(entry: bytes) -> bytes:
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


@dataclass(slots=True)
class Tree:
    """A log's tree as far as appending needs it: the roots of its perfect subtrees, the largest first."""

    #: Entries.
    size: int = 0
    #: One hash for each bit that is set in `size`; at most 64.
    frontier: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> None:
        """Add an entry by its leaf hash."""
        below = self.size
        while below & 1:  # two subtrees of one size make the next one
            leaf = node_hash(self.frontier.pop(), leaf)
            below >>= 1
        self.frontier.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The hash that stands for all entries and their order."""
        if not self.frontier:
            return EMPTY
        found = self.frontier[-1]
        for left in reversed(self.frontier[:-1]):
            found = node_hash(left, found)
        return found


def tree_of(leaves: Iterable[bytes]) -> Tree:
    tree = Tree()
    for leaf in leaves:
        tree.append(leaf)
    return tree


def resumed(size: int, frontier: Sequence[bytes]) -> Tree:
    """A tree to go on from, of which only the frontier was kept; ValueError if it cannot be the one of `size`."""
    if len(frontier) != size.bit_count():
        raise ValueError(f"a tree of {size} entries has {size.bit_count()} perfect subtrees, not {len(frontier)}")
    return Tree(size, list(frontier))
