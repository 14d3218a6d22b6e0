"""Are signatures those of RFC 8032, whichever library computes them?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from eleagent.transparency import ed25519

SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
"""Test 2 of RFC 8032, section 7.1, over the one byte 0x72."""


@pytest.fixture(params=["python's own", "cryptography"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "cryptography":
        monkeypatch.setattr(ed25519, "_openssl", lambda: None)
    return


@pytest.mark.usefixtures("library")
def test_vector_of_the_rfc() -> None:
    assert ed25519.public_key(SEED) == PUBLIC
    assert ed25519.sign(SEED, b"\x72") == SIGNATURE
    assert ed25519.verifies(PUBLIC, SIGNATURE, b"\x72")
    assert not ed25519.verifies(PUBLIC, SIGNATURE, b"\x73")
    assert not ed25519.verifies(PUBLIC[:-1] + b"\x00", SIGNATURE, b"\x72")
    assert not ed25519.verifies(PUBLIC, SIGNATURE[:-1], b"\x72")
    assert not ed25519.verifies(b"\xff" * 32, SIGNATURE, b"\x72")
    with pytest.raises(ValueError):
        ed25519.sign(b"short", b"")


@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200), place=st.integers(0, 511))
def test_signatures_are_the_packages_and_no_other_verifies(seed: bytes, message: bytes, place: int) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = ed25519.public_key(seed), ed25519.sign(seed, message)
    assert (public, signature) == (key.public_key().public_bytes_raw(), key.sign(message))
    assert ed25519.verifies(public, signature, message)
    flipped = bytearray(signature)
    flipped[place // 8] ^= 1 << place % 8
    assert not ed25519.verifies(public, bytes(flipped), message)
