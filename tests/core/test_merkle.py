"""The tree is the RFC's: against its recursive definition, and no proof holds for anything else."""

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


@pytest.mark.parametrize("size", range(1, 34))
def test_inclusion(size: int) -> None:
    leaves = hashed([bytes([n]) for n in range(size)])
    root = merkle.tree_of(leaves).root()
    for index, leaf in enumerate(leaves):
        proof = merkle.inclusion(index, leaves)
        assert merkle.includes(root, size, index, leaf, proof)
        assert not merkle.includes(root, size, index, merkle.leaf_hash(b"other"), proof)
        assert not any(merkle.includes(root, size, other, leaf, proof) for other in range(size) if other != index)
        assert not merkle.includes(root, size, index, leaf, [*proof, root])
        assert not any(
            merkle.includes(root, size, index, leaf, [*proof[:at], b"\0" * 32, *proof[at + 1 :]])
            for at in range(len(proof))
        )


@pytest.mark.parametrize("size", range(1, 34))
def test_consistency(size: int) -> None:
    leaves = hashed([bytes([n]) for n in range(size)])
    roots = [merkle.tree_of(leaves[:n]).root() for n in range(size + 1)]
    for old in range(1, size + 1):
        proof = merkle.consistency(old, leaves)
        assert merkle.consistent((old, roots[old]), (size, roots[size]), proof)
        assert not merkle.consistent((old, b"\0" * 32), (size, roots[size]), proof)
        assert not merkle.consistent((old, roots[old]), (size, b"\0" * 32), proof)
        assert not merkle.consistent((old, roots[old]), (size, roots[size]), [*proof, b"\0" * 32])
        # every hash of the proof counts: one that is not looked at was a hole in another log's client
        for at in range(len(proof)):
            bent = [*proof[:at], b"\0" * 32, *proof[at + 1 :]]
            assert not merkle.consistent((old, roots[old]), (size, roots[size]), bent)
        if old < size:
            assert not merkle.consistent((old, roots[old]), (size, roots[size]), proof[:-1])


def test_what_cannot_be_proven_is_an_error() -> None:
    leaves = hashed([b"a", b"b"])
    with pytest.raises(ValueError, match="no entry 2"):
        merkle.inclusion(2, leaves)
    with pytest.raises(ValueError, match="log of 3"):
        merkle.consistency(3, leaves)
    assert not merkle.includes(merkle.EMPTY, 0, 0, leaves[0], [])
    assert not merkle.consistent((0, merkle.EMPTY), (2, leaves[0]), [])
    assert not merkle.consistent((1, leaves[0]), (2, leaves[0]), [])
