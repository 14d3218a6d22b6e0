"""Which hash stands for a whole log, and what proves a part of it? The Merkle tree of RFC 6962, section 2.1."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final, Protocol

from eleagent.errors import TamperFound

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()


class Nodes(Protocol):
    """Where the hashes of complete subtrees are: of the 2**level leaves from index * 2**level on."""

    def node(self, level: int, index: int) -> bytes: ...


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def root(nodes: Nodes, size: int) -> bytes:
    """The tree head over the first `size` leaves."""
    return _subtree(nodes, 0, size) if size else EMPTY_ROOT


def inclusion_proof(nodes: Nodes, index: int, size: int) -> list[bytes]:
    """The audit path of leaf `index` in the tree of `size` leaves, from its sibling up."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    return _path(nodes, index, 0, size)


def consistency_proof(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """What proves that the tree of `new` leaves begins with the tree of `old` ones."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not begin with one of {old}")
    return [] if old in (0, new) else _consistency(nodes, old, 0, new, whole=True)


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], head: bytes) -> None:
    """Raises TamperFound unless `proof` leads from the leaf to `head` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        raise TamperFound(f"the proof is of leaf {index} in a tree of {size}")
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise TamperFound("the inclusion proof is too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last or found != head:
        raise TamperFound(f"the inclusion proof of leaf {index} does not lead to the checkpoint's root")


def check_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raises TamperFound unless `proof` shows that the new tree begins with the old one (RFC 9162, section 2.1.4.2)."""
    forked = TamperFound(f"the log of {new} records does not begin with the {old} that were seen before")
    if old > new:
        raise TamperFound(f"the log has {new} records, it had {old} before: it was cut or an older copy was put back")
    if old in (0, new):
        if proof or old_root != (EMPTY_ROOT if old == 0 else new_root):
            raise forked
        return
    path = list(proof)
    if old & (old - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise forked
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    was = now = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise forked
        if node & 1 or node == last:
            was, now = node_hash(sibling, was), node_hash(sibling, now)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            now = node_hash(now, sibling)
        node, last = node >> 1, last >> 1
    if last or was != old_root or now != new_root:
        raise forked


class Frontier:
    """The right edge of a growing tree: its complete subtrees, largest first. As small as the log is long in bits."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []

    def add(self, leaf: bytes) -> None:
        size, peaks = self.size, self._peaks
        while size & 1:
            leaf = sha256(b"\x01" + peaks.pop() + leaf).digest()
            size >>= 1
        peaks.append(leaf)
        self.size += 1

    @property
    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        *rest, found = self._peaks
        for peak in reversed(rest):
            found = node_hash(peak, found)
        return found

    @classmethod
    def at(cls, nodes: Nodes, size: int) -> Frontier:
        """The edge of the tree of `size` leaves."""
        edge = cls()
        for level in reversed(range(size.bit_length())):
            if size >> level & 1:
                edge._peaks.append(nodes.node(level, (size >> level) - 1))
        edge.size = size
        return edge


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << (size - 1).bit_length() - 1


def _subtree(nodes: Nodes, start: int, size: int) -> bytes:
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return nodes.node(level, start >> level)
    left = _split(size)
    return node_hash(_subtree(nodes, start, left), _subtree(nodes, start + left, size - left))


def _path(nodes: Nodes, index: int, start: int, size: int) -> list[bytes]:
    if size == 1:
        return []
    left = _split(size)
    if index < left:
        return [*_path(nodes, index, start, left), _subtree(nodes, start + left, size - left)]
    return [*_path(nodes, index - left, start + left, size - left), _subtree(nodes, start, left)]


def _consistency(nodes: Nodes, old: int, start: int, size: int, *, whole: bool) -> list[bytes]:
    """`whole`: the old tree's root is known to whoever checks."""
    if old == size:
        return [] if whole else [_subtree(nodes, start, size)]
    left = _split(size)
    if old <= left:
        return [*_consistency(nodes, old, start, left, whole=whole), _subtree(nodes, start + left, size - left)]
    return [
        *_consistency(nodes, old - left, start + left, size - left, whole=False), _subtree(nodes, start, left)
    ]  # fmt: skip
