"""Is a token that is not exactly one of ours refused, whatever it tries?"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from eleagent.errors import Unauthenticated
from eleagent_daemon.identity import opaque
from eleagent_daemon.identity.tokens import AUDIENCE, LIMIT_CHARACTERS, TYPE
from eleagent_daemon.store.registry import ORGANIZATION

from .conftest import House

Attack = Callable[["Forge"], str]
ATTACKS: dict[str, Attack] = {}


class Forge:
    """What an attacker has who knows everything but the private key, and what the daemon itself would sign."""

    def __init__(self, home: House, access: str) -> None:
        self.access = access
        self.head, self.claims, self.signature = access.split(".")
        self.key = home.identity.keyring.signing
        self.ours = Ed25519PrivateKey.from_private_bytes(self.key.secret)
        self.public = self.ours.public_key()
        self.payload: dict[str, Any] = json.loads(unpadded(self.claims))

    def sign(self, head: dict[str, Any] | None = None, /, **claims: Any) -> str:
        """With our own key: what is wrong is what it says."""
        payload = {name: value for name, value in (self.payload | claims).items() if value is not ...}
        return self.signed({"alg": "EdDSA", "kid": self.key.id, "typ": TYPE} | (head or {}), payload)

    def signed(self, head: Any, payload: Any, key: Any = None) -> str:
        first = f"{b64(compact(head))}.{b64(compact(payload))}"
        return f"{first}.{b64((key or self.ours).sign(first.encode()))}"

    def mac(self, algorithm: str, secret: bytes) -> str:
        import hashlib
        import hmac

        first = f"{b64(compact({'alg': algorithm, 'kid': self.key.id, 'typ': TYPE}))}.{self.claims}"
        digest = {"HS256": hashlib.sha256, "HS384": hashlib.sha384, "HS512": hashlib.sha512}[algorithm]
        return f"{first}.{b64(hmac.digest(secret, first.encode(), digest))}"


def attack(name: str) -> Callable[[Attack], Attack]:
    def keep(function: Attack) -> Attack:
        ATTACKS[name] = function
        return function

    return keep


def compact(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unpadded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def head(**changes: Any) -> Attack:
    return lambda forge: forge.sign(changes)


def claim(**changes: Any) -> Attack:
    return lambda forge: forge.sign(None, **changes)


def now() -> int:
    return int(time.time())


# No algorithm, another one, another key
for algorithm in ("none", "None", "NONE", "nOnE", ""):
    ATTACKS[f"alg {algorithm!r} unsigned"] = lambda forge, alg=algorithm: (
        f"{b64(compact({'alg': alg, 'kid': forge.key.id, 'typ': TYPE}))}.{forge.claims}."
    )
    ATTACKS[f"alg {algorithm!r} signed"] = head(alg=algorithm)
for algorithm in ("HS256", "HS384", "HS512"):
    ATTACKS[f"{algorithm} with the public key"] = lambda forge, alg=algorithm: forge.mac(
        alg, forge.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    )
ATTACKS["HS256 with the public key in PEM"] = lambda forge: forge.mac(
    "HS256", forge.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)
ATTACKS["HS256 with nothing"] = lambda forge: forge.mac("HS256", b"")
ATTACKS["RS256"] = lambda forge: jwt.encode(
    forge.payload, rsa.generate_private_key(65537, 2048), algorithm="RS256", headers={"kid": forge.key.id, "typ": TYPE}
)
ATTACKS["ES256"] = lambda forge: jwt.encode(
    forge.payload,
    ec.generate_private_key(ec.SECP256R1()),
    algorithm="ES256",
    headers={"kid": forge.key.id, "typ": TYPE},
)
ATTACKS["another key under our kid"] = lambda forge: forge.signed(
    {"alg": "EdDSA", "kid": forge.key.id, "typ": TYPE}, forge.payload, Ed25519PrivateKey.generate()
)
ATTACKS["a key of zeros"] = lambda forge: forge.signed(
    {"alg": "EdDSA", "kid": forge.key.id, "typ": TYPE}, forge.payload, Ed25519PrivateKey.from_private_bytes(bytes(32))
)
ATTACKS["alg Ed25519"] = head(alg="Ed25519")
ATTACKS["alg in small letters"] = head(alg="eddsa")

# Headers that lead elsewhere
for name, value in {
    "jku": "https://evil.example/keys", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": "AAAA"},
    "x5u": "https://evil.example/x", "x5c": ["AAAA"], "x5t": "AAAA", "crit": ["exp"], "b64": False, "cty": "JWT",
    "zip": "DEF", "iss": "x",
}.items():  # fmt: skip
    ATTACKS[f"header {name}"] = head(**{name: value})
for kid in ("", "../../identity.json", "/dev/null", "x' OR '1'='1", "%00", None, 0, ["a"]):
    ATTACKS[f"kid {kid!r}"] = head(kid=kid)
for typ in ("JWT", "at+jwt", "ele-run+jwt", "ELE-ACCESS+JWT", "application/ele-access+jwt", None, ""):
    ATTACKS[f"typ {typ!r}"] = head(typ=typ)
ATTACKS["header in another order"] = lambda forge: forge.signed(
    {"typ": TYPE, "kid": forge.key.id, "alg": "EdDSA"}, forge.payload
)
ATTACKS["header twice alg"] = lambda forge: forge.signed(
    f'{{"alg":"EdDSA","alg":"EdDSA","kid":"{forge.key.id}","typ":"{TYPE}"}}'.encode(), forge.payload
)

# Claims
for name in ("iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp"):
    ATTACKS[f"without {name}"] = claim(**{name: ...})
    ATTACKS[f"{name} null"] = claim(**{name: None})
for name, value in {
    "another installation": {"iss": "eleagentd:other"}, "issuer's prefix": {"iss": "eleagentd:"},
    "issuer with more": {"iss": "eleagentd:test2"}, "issuer in a list": {"iss": ["eleagentd:test"]},
    "another audience": {"aud": "eleagent-run"}, "audience in a list": {"aud": [AUDIENCE, "x"]},
    "audience's prefix": {"aud": "eleagent"}, "expired": {"exp": 1}, "expired as a text": {"exp": "1"},
    "exp not a number": {"exp": "never"}, "exp infinite": {"exp": float("inf")}, "exp a list": {"exp": []},
    "not yet": {"nbf": 1 << 40}, "issued tomorrow": {"iat": 1 << 40}, "sub a number": {"sub": 1},
    "sid a number": {"sid": 1}, "sid of nobody": {"sid": "AAAAAAAAAAAA"}, "sub of nobody": {"sub": "u-aaaaaaaaaa"},
    "sub an organization": {"sub": ORGANIZATION}, "sid a list": {"sid": ["AAAAAAAAAAAA"]},
}.items():  # fmt: skip
    ATTACKS[name] = claim(**value)

# Forms
ATTACKS["empty"] = lambda forge: "x" * 0 + "."
ATTACKS["dots"] = lambda forge: ".."
ATTACKS["two parts"] = lambda forge: f"{forge.head}.{forge.claims}"
ATTACKS["four parts"] = lambda forge: f"{forge.access}.x"
ATTACKS["five parts, encrypted"] = lambda forge: f"{forge.head}.a.b.c.d"
ATTACKS["signature cut"] = lambda forge: forge.access[:-4]
ATTACKS["no signature"] = lambda forge: f"{forge.head}.{forge.claims}."
ATTACKS["signature of another's claims"] = lambda forge: (
    f"{forge.head}.{b64(compact(forge.payload | {'sub': 'u-bbbbbbbbbb'}))}.{forge.signature}"
)
ATTACKS["padding"] = lambda forge: f"{forge.access}=="
ATTACKS["a space in the claims"] = lambda forge: f"{forge.head}. {forge.claims}.{forge.signature}"
ATTACKS["standard base64"] = lambda forge: forge.access.replace("-", "+").replace("_", "/") + "+"
ATTACKS["another spelling of the signature"] = lambda forge: forge.access[:-1] + chr(ord(forge.access[-1]) + 1)
ATTACKS["too long"] = lambda forge: forge.sign(None, pad="x" * LIMIT_CHARACTERS)
ATTACKS["a million letters"] = lambda forge: "a" * 8000
ATTACKS["claims no object"] = lambda forge: forge.signed({"alg": "EdDSA", "kid": forge.key.id, "typ": TYPE}, [1])
ATTACKS["claims no JSON"] = lambda forge: forge.signed({"alg": "EdDSA", "kid": forge.key.id, "typ": TYPE}, b"\xff")
ATTACKS["claims deep"] = lambda forge: forge.signed({"alg": "EdDSA", "kid": forge.key.id, "typ": TYPE}, b"[" * 1500)
ATTACKS["JWS in JSON"] = lambda forge: json.dumps(
    {"protected": forge.head, "payload": forge.claims, "signature": forge.signature}
).replace(" ", "")
ATTACKS["a refresh token"] = lambda forge: opaque.make("ert").text


def test_attacks_are_many() -> None:
    assert len(ATTACKS) >= 40


@pytest.fixture
async def forge(home: House) -> Forge:
    return Forge(home, (await home.login()).access)


async def test_forge_signs_what_would_be_taken_if_it_were_right(home: House, forge: Forge) -> None:
    assert forge.sign().split(".")[:2] == forge.access.split(".")[:2]
    answer = await home.tcp("GET", "/v1/whoami", token=forge.sign())
    assert (answer.status, answer.json["user"]) == (200, "ada")


@pytest.mark.parametrize("name", ATTACKS)
async def test_forged_token_is_nobody(home: House, forge: Forge, name: str) -> None:
    token = ATTACKS[name](forge)
    assert token != forge.access
    answer = await home.tcp("GET", "/v1/whoami", token=token)
    assert answer.status in (401, 400), (name, answer)
    assert answer.status == 401 or len(token) > LIMIT_CHARACTERS
    assert token.encode() not in answer.body


async def test_token_in_force_survives_a_rotation_for_a_day_and_an_urgent_one_not(home: House) -> None:
    tokens = await home.login()
    keyring = home.identity.keyring
    await asyncio.to_thread(lambda: keyring.rotate(at_once=False))
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 200
    assert (await home.tcp("GET", "/v1/whoami", token=(await home.login()).access)).status == 200
    await asyncio.to_thread(lambda: keyring.rotate(at_once=True))
    assert (await home.tcp("GET", "/v1/whoami", token=tokens.access)).status == 401
    assert (await home.tcp("POST", "/v1/login/refresh", json={"refresh": tokens.refresh})).status == 200


# Keys and refresh tokens


SCAN = re.compile(r"\be(?:ak|rt|st)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}\b")


async def test_token_that_was_verified_before_ends_when_it_should(home: House) -> None:
    tokens, other = home.identity.tokens, (await home.login()).access
    access, login = (pair := await home.login()).access, pair.login
    for _ in range(2):
        assert tokens.read(access).sid == login
        assert (await home.tcp("GET", "/v1/whoami", token=access)).status == 200
    await home.identity.logins.end(login, why="")
    assert (await home.tcp("GET", "/v1/whoami", token=access)).status == 401
    assert tokens.read(other)
    home.clock.ahead = 601
    assert tokens._find_verified(hashlib.sha256(other.encode()).digest()) is None, "its time is over: it is read anew"
    home.clock.ahead = 0
    assert tokens.read(other)
    await asyncio.to_thread(home.identity.keyring.rotate, at_once=True)
    with pytest.raises(Unauthenticated, match="not valid"):
        tokens.read(other)


async def test_token_that_was_verified_before_is_no_other(home: House) -> None:
    access = (await home.login()).access
    home.identity.tokens.read(access)
    changed = access[:-2] + ("B" if access[-2] == "A" else "A") + access[-1]
    for forged in (access[:-1], access + "A", changed, access.upper()):
        with pytest.raises(Unauthenticated):
            home.identity.tokens.read(forged)


async def test_tokens_that_are_kept_are_bounded(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eleagent_daemon.identity.tokens.VERIFIED_MOST", 2)
    made = [home.identity.tokens.make(user="u", login=str(number))[0] for number in range(5)]
    assert [home.identity.tokens.read(token).sid for token in made] == list("01234")
    assert len(home.identity.tokens._verified) == 2


def test_opaque_tokens_are_found_by_a_scanner() -> None:
    for kind in ("eak", "ert", "est"):
        made = opaque.make(kind)  # type: ignore[arg-type]
        assert SCAN.fullmatch(made.text)
        assert SCAN.search(f"key={made.text}\n")
        assert len(made.text) == 66


@given(st.integers(0, 65), st.characters(codec="utf-8"))
def test_opaque_token_with_one_character_changed_is_none(place: int, character: str) -> None:
    made = opaque.make("eak")
    changed = made.text[:place] + character + made.text[place + 1 :]
    assert (opaque.read("eak", changed) is None) == (changed != made.text)


@given(st.text())
def test_opaque_text_is_no_token(text: str) -> None:
    assert opaque.read("eak", text) is None
