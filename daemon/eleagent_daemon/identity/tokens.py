"""How is an access token made and read? A JWT that says which login it belongs to, for minutes, and no right at all."""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from eleagent.errors import Unauthenticated
from eleagent_daemon.identity.keyring import Key, Keyring

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

TYPE: Final = "ele-access+jwt"
AUDIENCE: Final = "eleagent-api"
LEEWAY_S: Final = 5
LIMIT_CHARACTERS: Final = 4096
VERIFIED_MOST: Final = 1024
"""Tokens whose signature need not be verified again."""

_ALGORITHM: Final = "EdDSA"
_CLAIMS: Final = ["iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"]


class Claims(msgspec.Struct, frozen=True):
    """`sub` is the user's id, `sid` the login's."""

    sub: str
    sid: str
    exp: int


class AccessTokens:
    """PyJWT and its cryptography cost 16 MiB: they are loaded when the first token comes.

    A signature is verified once: what a token said is kept, under its hash, until it expires or its key is retired.
    Whether its login still counts is asked at each request, elsewhere.
    """

    def __init__(self, *, keyring: Keyring, issuer: str, life_s: float, clock: Callable[[], float] = time.time) -> None:
        self._keyring = keyring
        self._issuer = issuer
        self._life_s = life_s
        self._clock = clock
        self._heads: dict[str, str] = {}
        self._publics: dict[str, Ed25519PublicKey] = {}
        self._verified: OrderedDict[bytes, tuple[str, Claims]] = OrderedDict()

    def make(self, *, user: str, login: str) -> tuple[str, float]:
        """A token and when it expires (Unix time)."""
        import jwt

        at = int(self._clock())
        expires = at + int(self._life_s)
        claims = {
            "iss": self._issuer, "aud": AUDIENCE, "sub": user, "sid": login, "jti": secrets.token_hex(16),
            "iat": at, "nbf": at, "exp": expires,
        }  # fmt: skip
        key = self._keyring.signing
        made = jwt.encode(claims, _private(key), algorithm=_ALGORITHM, headers={"kid": key.id, "typ": TYPE})
        return made, float(expires)

    def read(self, token: str) -> Claims:
        """What a token of ours that is in force says. Raises Unauthenticated; `reason` is "expired" or "invalid"."""
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        if (known := self._find_verified(digest)) is not None:
            return known
        key = self._key_of(token)
        claims = self._verify(token, key)
        self._verified[digest] = (key.id, claims)
        while len(self._verified) > VERIFIED_MOST:
            self._verified.popitem(last=False)
        return claims

    def _find_verified(self, digest: bytes) -> Claims | None:
        """What a token said that was verified before, while it is in force."""
        at = self._clock()
        signer, claims = self._verified.get(digest, ("", None))
        if claims is None:
            return None
        if at < claims.exp and any(key.id == signer for key in self._keyring.verifying(at)):
            return claims
        del self._verified[digest]
        return None

    def _verify(self, token: str, key: Key) -> Claims:
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public(key),
                algorithms=[_ALGORITHM],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": _CLAIMS, "strict_aud": True, "enforce_minimum_key_length": True},
            )
            return msgspec.convert(claims, Claims)
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the access token has expired: refresh it", reason="expired") from None
        except (jwt.InvalidTokenError, msgspec.ValidationError):
            raise _invalid() from None

    def _key_of(self, token: str) -> Key:
        """The key that a token of ours names. Its header must be, to the letter, the one that we write: there is no
        other algorithm, type or key to be talked into.
        """
        if len(token) > LIMIT_CHARACTERS:
            raise _invalid()
        head, *rest = token.split(".")
        if len(rest) != 2 or not all(_is_canonical(part) for part in rest):
            raise _invalid()
        for key in self._keyring.verifying(self._clock()):
            if head == self._head(key):
                return key
        raise _invalid()

    def _public(self, key: Key) -> Ed25519PublicKey:
        if key.id not in self._publics:
            self._publics[key.id] = _private(key).public_key()
        return self._publics[key.id]

    def _head(self, key: Key) -> str:
        if key.id not in self._heads:
            import jwt

            signed = jwt.encode({}, _private(key), algorithm=_ALGORITHM, headers={"kid": key.id, "typ": TYPE})
            self._heads[key.id] = signed.partition(".")[0]
        return self._heads[key.id]


def _private(key: Key) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(key.secret)


def _is_canonical(part: str) -> bool:
    """Whether it is the one way to write its bytes in base64url: another spelling would be another token."""
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        return False
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == part


def _invalid() -> Unauthenticated:
    return Unauthenticated("the access token is not valid: log in with eleagent login", reason="invalid")
