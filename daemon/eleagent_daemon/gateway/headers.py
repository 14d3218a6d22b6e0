"""Which headers pass the model door, in each direction?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from eleagent_daemon.domain.doors import PLACEHOLDER_KEY
from eleagent_daemon.gateway.denial import ForeignCredential

REQUEST_HEADERS: Final = frozenset({
    "accept", "user-agent", "anthropic-version", "anthropic-dangerous-direct-browser-access", "x-app",

})  # fmt: skip
REQUEST_PREFIXES: Final = ("x-stainless-", "x-claude-code-")
RESPONSE_HEADERS: Final = frozenset({"content-type", "request-id", "retry-after", "retry-after-ms", "x-should-retry"})
RESPONSE_PREFIX: Final = "anthropic-ratelimit-"

BETAS: Final = frozenset(
    {
        "claude-code-20250219",
        "interleaved-thinking-2025-05-14",
        "context-1m-2025-08-07",
        "context-management-2025-06-27",
        "structured-outputs-2025-11-13",
        "structured-outputs-2025-12-15",
        "advanced-tool-use-2025-11-20",
        "tool-search-tool-2025-10-19",
        "effort-2025-11-24",
        "task-budgets-2026-03-13",
        "prompt-caching-scope-2026-01-05",
        "prompt-caching-evict-2026-05-12",
        "extended-cache-ttl-2025-04-11",
        "fast-mode-2026-02-01",
        "redact-thinking-2026-02-12",
        "thinking-token-count-2026-05-13",
        "cache-diagnosis-2026-04-07",
        "mid-conversation-system-2026-04-07",
        "compact-2026-01-12",
        "token-counting-2024-11-01",
    }
)
"""From the Claude CLI 2.1.203's own table, without those that reach out of the request: files, MCP, skills, agents,
environments, code execution, fallbacks to another model's account."""

TOOL_BETAS: Final = {
    "web-search-2025-03-05": "web_search",
    "web-fetch-2025-09-10": "web_fetch",
    "code-execution-2025-05-22": "code_execution",
    "code-execution-2025-08-25": "code_execution",
}
"""Betas that pass only when the policy names the server-side tool they belong to."""

_CARRIER = re.compile(
    r"(^|[-_])(authorization|cookie2?|credentials?|passw(or)?d|secret|token|api[-_]?key|auth)($|[-_])"
)


def check_credentials(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether the placeholder is there. Raises ForeignCredential for any other credential, wherever it is carried."""
    found = False
    for name, value in headers:
        carrier = name.lower()
        if (carrier, value) in (("x-api-key", PLACEHOLDER_KEY), ("authorization", f"Bearer {PLACEHOLDER_KEY}")):
            found = True
        elif _CARRIER.search(carrier):
            raise ForeignCredential(f"the header {carrier[:60]!a}")
    return found


def request_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """What goes on to the provider, without credential, betas and framing, which are the gateway's own."""
    lower = ((name.lower(), value) for name, value in headers if value.isascii())
    return {name: value for name, value in lower if name in REQUEST_HEADERS or name.startswith(REQUEST_PREFIXES)}


def allowed_betas(headers: Iterable[tuple[str, str]], server_tools: frozenset[str]) -> tuple[str, ...]:
    """The values of `anthropic-beta` that open no way out; the others are dropped."""
    wanted = [beta.strip() for name, value in headers if name.lower() == "anthropic-beta" for beta in value.split(",")]
    return tuple(dict.fromkeys(beta for beta in wanted if beta in BETAS or TOOL_BETAS.get(beta) in server_tools))


def response_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """What the agent sees of the provider's answer: neither cookies nor the account behind the credential."""
    lower = ((name.lower(), value) for name, value in headers.items())
    return {name: value for name, value in lower if name in RESPONSE_HEADERS or name.startswith(RESPONSE_PREFIX)}
