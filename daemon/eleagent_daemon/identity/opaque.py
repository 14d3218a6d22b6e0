"""What does a key or refresh token look like? `TYPE_ID_SECRETCHECK`: its type, which one, 256 secret bits, a checksum.

The checksum tells a mistyped or foreign text from one of ours without asking anybody; it proves nothing.
"""

from __future__ import annotations

import re
import secrets
import string
import zlib
from typing import Final, Literal, NamedTuple

Kind = Literal["eak", "ert", "est"]
"""API key, refresh token, session token."""

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_ID_DIGITS: Final = 12
_SECRET_DIGITS: Final = 43  # 62**43 > 2**256
_CHECK_DIGITS: Final = 6  # 62**6 > 2**32
_FORM: Final = re.compile(r"(eak|ert|est)_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})", re.ASCII)
_LENGTH: Final = 3 + 1 + _ID_DIGITS + 1 + _SECRET_DIGITS + _CHECK_DIGITS


class Opaque(NamedTuple):
    """`text` is the whole secret; `id` may be shown."""

    kind: str
    id: str
    text: str


def make(kind: Kind, identifier: str | None = None) -> Opaque:
    """A fresh token of the thing `identifier`, or of a new one."""
    identifier = identifier or "".join(secrets.choice(_DIGITS) for _ in range(_ID_DIGITS))
    return derive(kind, identifier, secrets.token_bytes(32))


def derive(kind: Kind, identifier: str, secret: bytes) -> Opaque:
    """The token of the thing `identifier` whose secret is these 32 bytes."""
    head = f"{kind}_{identifier}_{_base62(int.from_bytes(secret, 'big'), _SECRET_DIGITS)}"
    return Opaque(kind, identifier, head + _check(head))


def read(kind: Kind, text: str) -> Opaque | None:
    """The token that `text` is, None for a text of any other form."""
    if len(text) != _LENGTH or (match := _FORM.fullmatch(text)) is None:
        return None
    if match[1] != kind or _check(text[:-_CHECK_DIGITS]) != match[4]:
        return None
    return Opaque(kind, match[2], text)


def _check(head: str) -> str:
    return _base62(zlib.crc32(head.encode()), _CHECK_DIGITS)


def _base62(number: int, digits: int) -> str:
    out = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        out = _DIGITS[digit] + out
    return out
