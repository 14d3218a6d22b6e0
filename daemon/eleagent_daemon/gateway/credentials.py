"""What does the gateway hold that opens the provider?"""

from __future__ import annotations

from collections.abc import Sequence

from eleagent.errors import ConfigError

OAUTH_BETA = "oauth-2025-04-20"


class Credential:
    """An API key or an OAuth token. Its value leaves this object in `headers` only, never in a repr or a log."""

    __slots__ = ("_secret", "kind")

    def __init__(self, *, kind: str, secret: str) -> None:
        self.kind = kind
        self._secret = secret.strip()
        if not self._secret or not self._secret.isascii() or not self._secret.isprintable() or " " in self._secret:
            raise ConfigError(f"the {kind} for the model is empty or not one word of ASCII text")

    @classmethod
    def api_key(cls, secret: str) -> Credential:
        return cls(kind="API key", secret=secret)

    @classmethod
    def oauth_token(cls, secret: str) -> Credential:
        return cls(kind="OAuth token", secret=secret)

    def headers(self, betas: Sequence[str]) -> dict[str, str]:
        """The request headers that carry it, with `anthropic-beta` as it then has to be."""
        if self.kind == "API key":
            carrier = {"x-api-key": self._secret}
        else:
            carrier = {"authorization": f"Bearer {self._secret}"}
            betas = [*betas, OAUTH_BETA]
        return carrier | ({"anthropic-beta": ",".join(betas)} if betas else {})

    def __repr__(self) -> str:
        return f"<Credential {self.kind}>"
