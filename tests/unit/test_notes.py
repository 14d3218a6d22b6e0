"""Are checkpoints and proofs in the forms that other tools read, and is a foreign signature no signature?"""

from __future__ import annotations

import pytest

from eleagent.errors import BadRequest, TamperFound
from eleagent.transparency.checkpoint import Checkpoint, split_note
from eleagent.transparency.merkle import leaf_hash
from eleagent.transparency.note import Signer, VerifierKey, open_checkpoint
from eleagent.transparency.proof import InclusionProof

KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
"""The specification's own example (c2sp.org/signed-note)."""
SIGNER = Signer(bytes(32))
LEAF = leaf_hash(b"record")
HEAD = Checkpoint("eleagent/test/1", 1, LEAF)


def test_key_and_signature_are_the_specifications() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = VerifierKey.parse(KEY)
    text, ((name, signature),) = split_note(NOTE)
    assert (str(key), name, signature[:4], text) == (KEY, key.name, key.id, "This is an example message.\n")
    Ed25519PublicKey.from_public_bytes(key.public).verify(signature[4:], text.encode())


@pytest.mark.parametrize("text", ["", "name", "name+530d903a+AAAA", KEY.replace("530d", "530e"), KEY[:-4], " +1+2"])
def test_key_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="no verifier key"):
        VerifierKey.parse(text)


def test_checkpoint_opens_with_its_own_key_alone() -> None:
    note = SIGNER.sign(HEAD.text, HEAD.origin)
    assert note.startswith(f"eleagent/test/1\n1\n{HEAD.text.splitlines()[2]}\n\n— eleagent/test/1 ")
    assert open_checkpoint(note, [SIGNER.verifier(HEAD.origin)]) == HEAD
    for stranger in ([], [Signer(bytes(31) + b"x").verifier(HEAD.origin)], [SIGNER.verifier("eleagent/test/2")]):
        with pytest.raises(TamperFound, match="no key that is trusted"):
            open_checkpoint(note, stranger)
    forged = note.replace("\n1\n", "\n2\n")
    with pytest.raises(TamperFound, match="does not hold"):
        open_checkpoint(forged, [SIGNER.verifier(HEAD.origin)])


def test_checkpoint_with_a_second_signature_opens_by_either() -> None:
    other = Signer(b"y" * 32)
    note = SIGNER.sign(HEAD.text, HEAD.origin) + other.sign(HEAD.text, HEAD.origin).rpartition("\n\n")[2]
    for signer in (SIGNER, other):
        assert open_checkpoint(note, [signer.verifier(HEAD.origin)]) == HEAD


@pytest.mark.parametrize("text", ["x\n", "x\n1\nAAAA\n", HEAD.text + "more\n", HEAD.text.replace("\n1\n", "\n01\n")])
def test_checkpoint_of_another_form_is_refused(text: str) -> None:
    note = SIGNER.sign(text, HEAD.origin)
    with pytest.raises(TamperFound, match="no checkpoint"):
        open_checkpoint(note, [SIGNER.verifier(HEAD.origin)])


def test_proof_reads_back_and_vouches_for_its_record_alone() -> None:
    proof = InclusionProof(0, [], SIGNER.sign(HEAD.text, HEAD.origin))
    assert str(proof).startswith("c2sp.org/tlog-proof@v1\nindex 0\n\neleagent/test/1\n1\n")
    read = InclusionProof.parse(str(proof))
    keys = [SIGNER.verifier(HEAD.origin)]
    assert (read, read.check(b"record", keys)) == (proof, HEAD)
    assert InclusionProof.parse(str(proof).replace("\nindex", "\nextra QUJD\nindex")) == proof
    with pytest.raises(TamperFound):
        read.check(b"another", keys)
    for text in (
        "",
        str(proof)[1:],
        str(proof).replace("index 0", "index 00"),
        str(proof).replace("index 0", "index -1"),
    ):
        with pytest.raises(TamperFound):
            InclusionProof.parse(text).check(b"record", keys)
