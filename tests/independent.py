"""Does an audit log hold, judged by the published formats alone? A second verifier that imports nothing of EleAgent.

RFC 6962, section 2.1 (the tree, written down as it is defined), c2sp.org/signed-note and c2sp.org/tlog-proof.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def tree_hash(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962, for logs that are small enough to define it."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\0" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    return sha256(b"\1" + tree_hash(entries[:split]) + tree_hash(entries[split:])).digest()


def signed_by(note: str, key: str) -> tuple[str, int, bytes] | None:
    """(origin, size, root) of a note that `key` signed."""
    name, _, encoded = key.split("+", 2)
    public = base64.b64decode(encoded)
    identifier = sha256(name.encode() + b"\n" + public).digest()[:4]
    text, _, lines = note.rpartition("\n\n")
    for line in lines.splitlines():
        _, who, signature = line.split(" ")
        raw = base64.b64decode(signature)
        if (who, raw[:4]) == (name, identifier):
            try:
                Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[4:], text.encode() + b"\n")
            except InvalidSignature:
                return None
            origin, size, root = text.split("\n")
            return origin, int(size), base64.b64decode(root)
    return None


def keys_of(folder: Path, key: str) -> list[str] | None:
    """The keys of a log whose first one is `key`; None where one was not named by the one before it."""
    keys = [key]
    path = folder / "rotations"
    for text in path.read_text().splitlines() if path.exists() else []:
        rotation = json.loads(text)
        record = json.loads(rotation["line"])
        if record["action"] != "audit.key_rotated":
            return None
        if not proof_holds(rotation["proof"], rotation["line"].encode(), keys[-1]):
            return None
        keys.append(record["details"]["key"])
    return keys


def log_holds(folder: Path, key: str) -> bool:
    """Whether every checkpoint of one log is signed by the key whose turn it was and fits its records, in order and
    without a gap. `key` is the log's first one.
    """
    keys = keys_of(folder, key)
    if keys is None:
        return False
    data = b"".join(path.read_bytes() for path in sorted((folder / "records").iterdir()))
    entries = data.split(b"\n")[:-1]
    notes = (folder / "checkpoints").read_text().split("\n— ")
    text, sizes = notes[0], []
    for part in notes[1:]:
        signature, _, following = part.partition("\n")
        note = f"{text}\n— {signature}\n"
        found = signed_by(note, keys[0])
        if found is None and len(keys) > 1 and (found := signed_by(note, keys[1])):
            del keys[0]
        if found is None or found[1] > len(entries) or tree_hash(entries[: found[1]]) != found[2]:
            return False
        sizes.append(found[1])
        text = following
    named = [json.loads(entry)["details"]["key"] for entry in entries if b'"audit.key_rotated"' in entry]
    if named != keys_of(folder, key)[1:]:  # type: ignore[index]  # it was followed above
        return False
    first = int((folder / "name").read_text().split()[1])
    chain = ["", *(sha256(b"\0" + entry).hexdigest() for entry in entries[:-1])]
    records = [json.loads(entry) for entry in entries]
    in_order = [(one["seq"], one.get("prev", "")) for one in records] == list(enumerate(chain, first))
    return in_order and bool(sizes) and sizes == sorted(set(sizes))


def proof_holds(proof: str, entry: bytes, key: str) -> bool:
    """Whether a tlog-proof leads from the entry to a root that the key signed."""
    head, _, note = proof.partition("\n\n")
    first, index_line, *hashes = head.split("\n")
    found = signed_by(note, key)
    if first != "c2sp.org/tlog-proof@v1" or found is None:
        return False
    return _root_of(sha256(b"\0" + entry).digest(), int(index_line.split(" ")[1]), found[1], hashes) == found[2]


def _root_of(leaf: bytes, index: int, size: int, hashes: list[str]) -> bytes | None:
    """PATH of RFC 6962, walked from the root down to the leaf and back."""
    if size == 1:
        return leaf if not hashes else None
    if not hashes:
        return None
    split = 1
    while split * 2 < size:
        split *= 2
    *below, last = hashes
    sibling = base64.b64decode(last)
    if index < split:
        left = _root_of(leaf, index, split, below)
        return None if left is None else sha256(b"\1" + left + sibling).digest()
    right = _root_of(leaf, index - split, size - split, below)
    return None if right is None else sha256(b"\1" + sibling + right).digest()
