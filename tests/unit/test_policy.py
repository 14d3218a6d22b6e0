"""Is a tunnel rule a host and a port, and nothing that looks like more?"""

from __future__ import annotations

import pytest

from eleagent.errors import ConfigError
from eleagent_daemon.domain.policy import HostRule, parse_rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("example.org", HostRule("example.org", 443)),
        ("Example.ORG.:8443", HostRule("example.org", 8443)),
        (".example.org", HostRule(".example.org", 443)),
        (" a-b.example.org:1 ", HostRule("a-b.example.org", 1)),
        ("localhost:65535", HostRule("localhost", 65535)),
    ],
)
def test_parse_rule_takes_host_and_port(text: str, rule: HostRule) -> None:
    assert parse_rule(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "", ":443", ".", "*", "*.example.org", "https://example.org", "example.org/path", "GET example.org",
        "example.org:", "example.org:0", "example.org:65536", "example.org:x", "example.org:٤٤٣", "example.org:+1",
        "example.org:" + "1" * 5000, "10.0.0.1", "[::1]:443", "::1", "a..b", "-a.org", "a-.org", "exämple.org",
        "a" * 64 + ".org", "a_b.org", "..example.org", "example.org:443:443",
    ],
)  # fmt: skip
def test_parse_rule_refuses_what_a_tunnel_cannot_see(text: str) -> None:
    with pytest.raises(ConfigError, match="tunnel rule"):
        parse_rule(text)


def test_rule_of_a_suffix_takes_in_the_name_and_what_is_below() -> None:
    rule = parse_rule(".example.org")
    assert all(rule.matches(host, 443) for host in ("example.org", "a.example.org", "a.b.example.org"))
    assert not any(rule.matches(host, 443) for host in ("badexample.org", "example.org.evil", "org"))
    assert not rule.matches("example.org", 80)
    assert not parse_rule("example.org").matches("a.example.org", 443)
