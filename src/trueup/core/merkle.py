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


# --- proofs ----------------------------------------------------------------------------------------------------------


def inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Hashes with which the leaf at `index` gives the root of all `leaves` (RFC 9162, 2.1.3.1)."""
    if not 0 <= index < len(leaves):
        raise ValueError(f"there is no entry {index} in a log of {len(leaves)}")
    if len(leaves) == 1:
        return []
    cut = _split(len(leaves))
    if index < cut:
        return [*inclusion(index, leaves[:cut]), tree_of(leaves[cut:]).root()]
    return [*inclusion(index - cut, leaves[cut:]), tree_of(leaves[:cut]).root()]


def includes(root: bytes, size: int, index: int, leaf: bytes, proof: Sequence[bytes]) -> bool:
    """Does `proof` show that `leaf` is the entry `index` of the log of `size` with this root? (RFC 9162, 2.1.3.2)"""
    if not 0 <= index < size:
        return False
    node, last, found = index, size - 1, leaf
    for step in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            found = node_hash(step, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, step)
        node, last = node >> 1, last >> 1
    return last == 0 and found == root


def consistency(size: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Hashes that show the log of the first `size` leaves to be the beginning of all (RFC 9162, 2.1.4.1)."""
    if not 0 < size <= len(leaves):
        raise ValueError(f"a log of {size} is not the beginning of one of {len(leaves)}")
    return [] if size == len(leaves) else _subproof(size, leaves, whole=True)


def _subproof(size: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    if size == len(leaves):
        return [] if whole else [tree_of(leaves).root()]
    cut = _split(len(leaves))
    if size <= cut:
        return [*_subproof(size, leaves[:cut], whole=whole), tree_of(leaves[cut:]).root()]
    return [*_subproof(size - cut, leaves[cut:], whole=False), tree_of(leaves[:cut]).root()]


def consistent(old: tuple[int, bytes], new: tuple[int, bytes], proof: Sequence[bytes]) -> bool:
    """Does `proof` show the log `old` (size, root) to be the beginning of `new`? (RFC 9162, 2.1.4.2)"""
    (old_size, old_root), (new_size, new_root) = old, new
    if not 0 < old_size <= new_size:
        return False
    if old_size == new_size:
        return not proof and old_root == new_root
    steps = list(proof)
    if old_size.bit_count() == 1:  # a perfect tree is a node of the new one
        steps.insert(0, old_root)
    if not steps:
        return False
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    was = now = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            was, now = node_hash(step, was), node_hash(step, now)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            now = node_hash(now, step)
        node, last = node >> 1, last >> 1
    return last == 0 and was == old_root and now == new_root


def _split(size: int) -> int:
    """The largest power of two below `size`."""
    return 1 << (size - 1).bit_length() - 1
