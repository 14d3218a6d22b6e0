"""What may leave a sandbox?

A policy is one named document. Under the default `model-only` nothing passes the tunnel door, not even to the provider:
nobody reads what goes through a tunnel, so whoever may CONNECT to a provider can talk to it with a key of their own.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from eleagent.errors import ConfigError


class HostRule(msgspec.Struct, frozen=True):
    """`host` is a lower-case ASCII name, or `.suffix` for a name below it and the name itself."""

    host: str
    port: int

    def matches(self, host: str, port: int) -> bool:
        if port != self.port:
            return False
        if self.host.startswith("."):
            return host == self.host[1:] or host.endswith(self.host)
        return host == self.host

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class ApprovalRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which walls ask a person instead of refusing. `hosts`: one that no tunnel rule names. `credentials`: the first
    use of each in a session. A question is denied after `expires_s` (0: never); who runs into a wall is kept waiting
    for `hold_s` and told to come back then.
    """

    hosts: bool = False
    credentials: bool = False
    expires_s: float = 900.0
    hold_s: float = 120.0


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """`server_tools` are types of tools that the provider itself runs (`web_search`, `code_execution` …) and that this
    policy lets through the model door; each is a way out."""

    name: str
    tunnel: tuple[HostRule, ...] = ()
    model: bool = True
    server_tools: frozenset[str] = frozenset()
    approvals: ApprovalRules = ApprovalRules()

    def tunnel_rule(self, host: str, port: int) -> HostRule | None:
        return next((rule for rule in self.tunnel if rule.matches(host, port)), None)


MODEL_ONLY: Final = Policy(name="model-only")
SEED_CONNECT: Final = Policy(
    name="seed-connect", tunnel=(HostRule(".anthropic.com", 443), HostRule(".claude.com", 443))
)
"""Weaker than model-only and labelled so: an allow-list is a grant, not a filter."""

BUILT_IN: Final = {policy.name: policy for policy in (MODEL_ONLY, SEED_CONNECT)}


def parse_rule(text: str) -> HostRule:
    """`host[:port]` or `.suffix[:port]`, port 443 by default.

    Raises ConfigError for a path, a method, an address or a wildcard: a tunnel sees host and port and nothing else.
    """
    host, colon, port_text = text.strip().partition(":")
    host = host.lower().rstrip(".")
    if "/" in text or " " in text.strip():
        raise ConfigError(f"tunnel rule {text!r}: a tunnel sees host and port only; write HOST:PORT")
    if colon and not (re.fullmatch("[0-9]{1,5}", port_text) and 0 < int(port_text) < 65536):
        raise ConfigError(f"tunnel rule {text!r}: {port_text!r} is not a port (1 to 65535)")
    labels = host.removeprefix(".").split(".")
    if not all(_is_label(label) for label in labels) or labels[-1].isdigit():
        raise ConfigError(
            f"tunnel rule {text!r}: {host!r} is not a host name (nor are addresses and '*'; '.example.org' takes in "
            "what is below it)"
        )
    return HostRule(host, int(port_text) if colon else 443)


def _is_label(label: str) -> bool:
    return (
        0 < len(label) < 64
        and label.isascii()
        and label.replace("-", "a").isalnum()
        and label[0] != "-"
        and label[-1] != "-"
    )
