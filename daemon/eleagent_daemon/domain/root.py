"""What is the root of a sandbox that has no image: which parts of the host does it show, and what stands for it?"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec

TREE: Final = "/usr"

LINKS: Final = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
"""Into TREE, where the host has merged them; folders of their own elsewhere."""

SETTINGS: Final = (
    "/etc/alternatives",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/pki/ca-trust",
    "/etc/pki/tls/certs",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
)
"""Of the host's /etc what programs in TREE need and every user may read anyway: no account, no key, no name."""

AGENT_FOLDER: Final = "/opt/agent"
"""Where an agent's own binary is, under the agent's name."""

_FORM: Final = 1


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """What an image is to an engine. `sha256` is of the agent's binary, empty for none."""

    agent: str
    sha256: str = ""

    @property
    def digest(self) -> str:
        """Stands for all that this root is made of: what is shown of the host, by name, and the binary, by content."""
        parts = {"form": _FORM, "tree": TREE, "links": LINKS, "settings": SETTINGS, "binary": self.sha256}
        return f"sha256:{hashlib.sha256(msgspec.json.encode(parts, order='sorted')).hexdigest()}"

    @property
    def binary(self) -> str:
        """The path in the sandbox of the agent's binary."""
        return f"{AGENT_FOLDER}/{self.agent}"
