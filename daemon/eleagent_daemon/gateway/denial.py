"""How does a door say no?"""

from __future__ import annotations

from typing import Final

import msgspec

from eleagent.errors import Refused

ERROR_TYPES: Final = {
    400: "invalid_request_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
"""The provider's names (docs.anthropic.com, API errors); anything else is an `api_error`."""


class Denied(Refused):
    """A request that a door does not let through. `rule` names what refused it; `http_status` is never 401, which the
    Claude CLI retries for minutes."""

    def __init__(self, rule: str, message: str, *, http_status: int = 403) -> None:
        super().__init__(message, rule=rule)
        self.rule = rule
        self.http_status = http_status


class ForeignCredential(Denied):
    """A credential that is not the placeholder. `carrier` names where it was; its value is kept nowhere."""

    def __init__(self, carrier: str) -> None:
        super().__init__(
            "credential",
            f"EleAgent: a credential in {carrier} is not let through; the model door takes the placeholder alone",
        )
        self.carrier = carrier


def error_json(http_status: int, message: str) -> bytes:
    """An error in the shape of the provider's API, so that its clients show `message`."""
    kind = ERROR_TYPES.get(http_status, "api_error")
    return msgspec.json.encode({"type": "error", "error": {"type": kind, "message": message}})
