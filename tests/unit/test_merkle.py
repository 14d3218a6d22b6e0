"""Are tree heads and proofs those of RFC 6962, and is every wrong proof found out?"""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.errors import TamperFound
from eleagent.transparency.merkle import (
    EMPTY_ROOT,
    Frontier,
    check_consistency,
    check_inclusion,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root,
)

LEAVES = [bytes.fromhex(one) for one in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Of the first 1, 2, … 8 leaves: the reference vectors of Certificate Transparency."""


class Listed:
    """`merkle.Nodes` over leaves in memory."""

    def __init__(self, entries: list[bytes]) -> None:
        self.leaves = [leaf_hash(entry) for entry in entries]

    def node(self, level: int, index: int) -> bytes:
        if level == 0:
            return self.leaves[index]
        return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))


def test_merkle_roots_are_the_reference_ones() -> None:
    edge, tree = Frontier(), Listed(LEAVES)
    assert edge.root == root(tree, 0) == EMPTY_ROOT == sha256(b"").digest()
    for size, expected in enumerate(ROOTS, 1):
        edge.add(leaf_hash(LEAVES[size - 1]))
        assert edge.root.hex() == root(tree, size).hex() == expected
        assert Frontier.at(tree, size).root.hex() == expected


def test_merkle_paths_are_the_reference_ones() -> None:
    tree = Listed(LEAVES)
    assert [one.hex() for one in inclusion_proof(tree, 0, 8)] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]
    assert [one.hex() for one in consistency_proof(tree, 6, 8)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(size=st.integers(1, 70), data=st.data())
def test_merkle_proofs_hold_and_no_others_do(size: int, data: st.DataObject) -> None:
    tree = Listed([bytes([number]) for number in range(size)])
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    head, was = root(tree, size), root(tree, old)
    path, growth = inclusion_proof(tree, index, size), consistency_proof(tree, old, size)
    check_inclusion(tree.leaves[index], index, size, path, head)
    check_consistency(old, was, size, head, growth)
    with pytest.raises(TamperFound):
        check_inclusion(leaf_hash(b"another"), index, size, path, head)
    with pytest.raises(TamperFound):
        check_inclusion(tree.leaves[index], index, size, [*path, head], head)
    for forged in forgeries(path, data):
        with pytest.raises(TamperFound):
            check_inclusion(tree.leaves[index], index, size, forged, head)
    for forged in forgeries(growth, data):
        with pytest.raises(TamperFound):
            check_consistency(old, was, size, head, forged)
    if 0 < old < size:
        with pytest.raises(TamperFound):
            check_consistency(old, sha256(was).digest(), size, head, growth)
        with pytest.raises(TamperFound, match="older copy"):
            check_consistency(size, head, old, was, growth)


def forgeries(proof: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    if not proof:
        return []
    place = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    return [[*proof[:place], flipped, *proof[place + 1 :]], proof[:place] + proof[place + 1 :]]
