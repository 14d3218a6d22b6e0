"""What of a program's arguments may the audit log hold? Everything but what looks like a secret, which is sealed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

_NAME: Final = (
    r"(?:[\w.-]{0,40}(?:token|secret|passw(?:or)?d|passphrase|credential|api[_-]?key|access[_-]?key|private[_-]?key))"
)
_FLAG: Final = re.compile(rf"--?{_NAME}", re.IGNORECASE)
"""An argument whose value is the next one."""
_FLAGGED: Final = re.compile(
    rf"""((?<!\S)["']?--?{_NAME}["']?\s+)("[^"]*"|'[^']*'|[^\s'"&;|-][^\s'"&;|]*)""", re.IGNORECASE
)
"""Such a flag and its value inside one argument, as in a shell's command."""

_SECRETS: Final = re.compile(
    r"""
    -----BEGIN\ [A-Z0-9\ ]*PRIVATE\ KEY-----.*?(?:-----END\ [A-Z0-9\ ]*PRIVATE\ KEY-----|\Z)  # PEM
    | \b(?:sk|pk|rk)-[\w-]{16,}  # model providers
    | \bgh[pousr]_\w{16,} | \bgithub_pat_\w{16,} | \bglpat-[\w-]{16,}
    | \bnpm_\w{16,} | \bpypi-[\w-]{16,} | \bxox[a-z]-[\w-]{10,} | \bAKIA[0-9A-Z]{12,} | \bele_\w{16,}
    | \beyJ[\w-]{8,}\.[\w-]+\.[\w-]*  # JWT
    | (?<=://)[^/\s:@'"]*:[^/\s@'"]+(?=@)  # user and password of a URL
    | (?<=authorization:)\s*[^'"\n]+ | (?<=x-api-key:)\s*[^'"\n]+ | (?<=bearer\ )[^\s'"]+
    | (?<=[=:])(?<=key[=:]|ken[=:]|ret[=:]|ord[=:]|swd[=:]|ase[=:]|ial[=:])(?:"[^"]*"|'[^']*'|[^\s'"&;]+)
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
"""The last: what is assigned to a name that ends in key, token, secret, password, passwd, passphrase or credential."""


def redacted(argv: Sequence[str], seal: Callable[[str], str]) -> list[str]:
    """`argv` with every secret in it replaced by `seal` of it: the same for the same one, and nothing about it."""
    return list(_redacted(argv, seal))


def _redacted(argv: Sequence[str], seal: Callable[[str], str]) -> Iterator[str]:
    valued = False
    for argument in argv:
        if valued and not argument.startswith("-"):
            yield seal(argument)
        else:
            text = _FLAGGED.sub(lambda found: found[1] + seal(found[2].strip("\"'")), argument)
            yield _SECRETS.sub(lambda found: seal(found[0].strip()), text)
        valued = _FLAG.fullmatch(argument) is not None
