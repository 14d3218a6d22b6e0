"""Which headers pass the model door?"""

from __future__ import annotations

import pytest

from eleagent.errors import ConfigError
from eleagent_daemon.domain.doors import PLACEHOLDER_KEY
from eleagent_daemon.gateway.credentials import Credential
from eleagent_daemon.gateway.denial import ForeignCredential
from eleagent_daemon.gateway.headers import allowed_betas, check_credentials, request_headers, response_headers

CLI_BETAS = (
    "claude-code-20250219,context-1m-2025-08-07,interleaved-thinking-2025-05-14,thinking-token-count-2026-05-13,"
    "context-management-2025-06-27,prompt-caching-scope-2026-01-05,mid-conversation-system-2026-04-07,effort-2025-11-24"
)
CLI_HEADERS = [
    ("Accept", "application/json"),
    ("User-Agent", "claude-cli/2.1.203 (external, sdk-cli)"),
    ("X-Claude-Code-Session-Id", "2f0dbe75"),
    ("x-claude-code-agent-id", "a1"),
    ("X-Stainless-Arch", "x64"),
    ("anthropic-dangerous-direct-browser-access", "true"),
    ("anthropic-version", "2023-06-01"),
    ("x-app", "cli"),
]
NOT_ASCII = ("X-Claude-Code-Other", "\udcff")
FRAMING = [("Host", "h"), ("Content-Length", "1"), ("Connection", "keep-alive"), ("Accept-Encoding", "gzip")]


def test_headers_of_the_real_cli_go_on_and_nothing_else_does() -> None:
    sent = [
        *CLI_HEADERS,
        *FRAMING,
        ("anthropic-beta", "x"),
        ("X-Forwarded-For", "1"),
        ("X-App", "\udcff"),
        ("x-api-key", PLACEHOLDER_KEY),
    ]

    assert request_headers(sent) == {name.lower(): value for name, value in CLI_HEADERS}


def test_betas_of_the_real_cli_are_kept_in_order() -> None:
    assert ",".join(allowed_betas([("anthropic-beta", CLI_BETAS)], frozenset())) == CLI_BETAS


@pytest.mark.parametrize(
    "beta",
    [
        *("files-api-2025-04-14", "mcp-client-2025-11-20", "mcp-servers-2025-12-04", "skills-2025-10-02", "unknown-1"),
        *("code-execution-2025-08-25", "web-fetch-2025-09-10", "web-search-2025-03-05", "managed-agents-2026-04-01"),
        *("environments-2025-11-01", "server-side-fallback-2026-06-01", "oauth-2025-04-20"),
    ],
)
def test_beta_that_reaches_out_is_dropped(beta: str) -> None:
    assert allowed_betas([("Anthropic-Beta", f"{beta}, effort-2025-11-24")], frozenset()) == ("effort-2025-11-24",)


def test_beta_of_a_server_tool_passes_with_the_tool() -> None:
    assert allowed_betas([("anthropic-beta", "web-search-2025-03-05")], frozenset({"web_search"}))


@pytest.mark.parametrize("carrier", [("x-api-key", PLACEHOLDER_KEY), ("Authorization", f"Bearer {PLACEHOLDER_KEY}")])
def test_placeholder_is_found(carrier: tuple[str, str]) -> None:
    assert check_credentials([*CLI_HEADERS, *FRAMING, carrier])
    assert not check_credentials([*CLI_HEADERS, *FRAMING])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-api-key", "sk-ant-other-secret"),
        ("X-Api-Key", PLACEHOLDER_KEY + "secret"),
        ("Authorization", "Bearer sk-ant-oat-secret"),
        ("Authorization", f"Basic {PLACEHOLDER_KEY}"),
        ("Proxy-Authorization", f"Bearer {PLACEHOLDER_KEY}"),
        ("Cookie", "secret=1"),
        ("x-goog-api-key", "AIza-secret"),
        ("api_key", "secret"),
        ("X-Amz-Security-Token", "secret"),
        ("x-auth-token", "secret"),
    ],
)
def test_other_credential_is_foreign_beside_the_placeholder_and_its_value_not_told(name: str, value: str) -> None:
    with pytest.raises(ForeignCredential) as caught:
        check_credentials([("x-api-key", PLACEHOLDER_KEY), (name, value)])

    assert name.lower() in caught.value.message
    assert "secret" not in caught.value.message + str(caught.value.fields)


def test_answer_headers_hide_the_account() -> None:
    theirs = {
        "Content-Type": "text/event-stream",
        "Retry-After": "3",
        "anthropic-ratelimit-tokens-remaining": "9",
        "Set-Cookie": "a=b",
        "anthropic-organization-id": "org",
        "Content-Encoding": "gzip",
        "Transfer-Encoding": "chunked",
    }

    assert response_headers(theirs) == {
        "content-type": "text/event-stream",
        "retry-after": "3",
        "anthropic-ratelimit-tokens-remaining": "9",
    }


def test_credential_is_carried_as_its_kind_wants_it() -> None:
    assert Credential.api_key("sk-real\n").headers(("a", "b")) == {"x-api-key": "sk-real", "anthropic-beta": "a,b"}
    assert Credential.api_key("sk-real").headers(()) == {"x-api-key": "sk-real"}
    assert Credential.oauth_token("oat").headers(("a",)) == {
        "authorization": "Bearer oat",
        "anthropic-beta": "a,oauth-2025-04-20",
    }


@pytest.mark.parametrize("secret", ["", " ", "a b", "a\nb", "schlüssel"])
def test_credential_that_can_be_no_header_is_refused_without_telling_it(secret: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Credential.api_key(secret)

    assert secret.strip() == "" or secret not in caught.value.message


def test_credential_shows_itself_nowhere() -> None:
    credential = Credential.api_key("sk-ant-real")

    assert "sk-ant-real" not in f"{credential!r} {credential}"
