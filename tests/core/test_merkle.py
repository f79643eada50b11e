"""The tree is the RFC's: against its recursive definition, and however often it is gone on with."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core import merkle


def defined(entries: list[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    cut = 1
    while cut * 2 < len(entries):
        cut *= 2
    return hashlib.sha256(b"\x01" + defined(entries[:cut]) + defined(entries[cut:])).digest()


def hashed(entries: list[bytes]) -> list[bytes]:
    return [merkle.leaf_hash(entry) for entry in entries]


ENTRIES = st.lists(st.binary(max_size=4), max_size=70)


@given(ENTRIES)
def test_the_root_is_the_recursive_definition(entries: list[bytes]) -> None:
    assert merkle.tree_of(hashed(entries)).root() == defined(entries)


def test_known_roots() -> None:
    """Of the test vectors that Certificate Transparency implementations share."""
    entries = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243")]
    roots = {
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    }
    for size, root in roots.items():
        assert merkle.tree_of(hashed(entries[:size])).root().hex() == root


@given(ENTRIES, st.data())
def test_a_tree_goes_on_from_its_frontier(entries: list[bytes], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(entries)))
    kept = merkle.tree_of(hashed(entries[:cut]))
    tree = merkle.resumed(cut, kept.frontier)
    for leaf in hashed(entries[cut:]):
        tree.append(leaf)
    assert (tree.size, tree.root()) == (len(entries), defined(entries))


def test_a_frontier_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="5 entries has 2"):
        merkle.resumed(5, [b"x" * 32])
