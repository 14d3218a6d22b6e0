"""Does `eleagent policy` tell what is in force in the daemon, and which setting changes it?"""

from __future__ import annotations

import msgspec
import pytest

from eleagent.wire.limits import OnLimit, SessionLimits
from eleagent.wire.policies import PolicyList

from ..tui.scripted import POLICIES
from .conftest import CommandLine


@pytest.fixture(autouse=True)
def policies(eleagent: CommandLine) -> None:
    eleagent.daemon.scripts["policy_list"] = lambda call: POLICIES


def test_policies_are_listed_with_what_each_lets_out(eleagent: CommandLine) -> None:
    rows = [line.split("  ") for line in eleagent("policy", "ls").out.splitlines()]
    assert [[cell.strip() for cell in row if cell.strip()] for row in rows] == [
        ["POLICY", "TUNNEL", "MODEL", "ASKS FOR", "FROM"],
        ["model-only", "shut", "open", "nothing", "built in"],
        [
            "careful", ".example.org:443, git.example.net:22", "open, also web_search",
            "a host without a rule, the first use of a credential", "configuration",
        ],
        ["offline", "shut", "shut", "a host without a rule", "configuration"],
    ]  # fmt: skip


def test_policy_in_force_is_shown_with_what_changes_it(eleagent: CommandLine) -> None:
    shown = eleagent("policy", "show").out
    for text in (
        "model-only (built in, in force where none is named)  (session.policy; run --policy)",
        "shut: nothing passes the tunnel door  (policies.model-only.tunnel)",
        "open; server-side tools, MCP servers and URL sources are refused",
        "nobody is asked: what is not let out is refused",
        "2 GiB memory · 2 cpus · 512 processes · 4 GiB disk  (limits.*",
        "2 h · 30 min without progress · 3 s from SIGTERM to SIGKILL",
        "20 USD a session · 50 USD a user and day",
        "the session is stopped  (budget.on_limit",
        "deleted 90 days after its end  (session.keep_days)",
        "kept for 400 days  (audit.retention_days)",
    ):
        assert text in shown, text


def test_policy_that_asks_says_whom_for_what_and_how_long(eleagent: CommandLine) -> None:
    careful = eleagent("policy", "show", "careful").out
    assert "to .example.org:443, git.example.net:22  (policies.careful.tunnel)" in careful  # others are asked for
    assert "web_search may run at the provider; other server-side tools" in careful
    asks = "asked for a host without a rule and the first use of a credential; denied after 10 min without an answer"
    assert asks in careful
    offline = eleagent("policy", "show", "offline").out
    assert "shut: no agent of a model can work under it  (policies.offline.model)" in offline
    assert "a question never expires; the connection is held for 90 s" in offline


def test_terms_of_no_limit_are_told_as_such(eleagent: CommandLine) -> None:
    free = msgspec.structs.replace(
        POLICIES.terms, mode="best-effort", user_day_usd=0, keep_days=0,
        limits=SessionLimits(on_limit=OnLimit.PAUSE, memory_bytes=512 << 20, max_tokens=9000),
    )  # fmt: skip
    eleagent.daemon.scripts["policy_list"] = lambda call: msgspec.structs.replace(POLICIES, terms=free)
    shown = eleagent("policy", "show").out
    for text in (
        "enforce is named, and the session runs", "512 MiB memory", "9,000 tokens", "a session is kept for ever",
        "paused, a person asked",
    ):  # fmt: skip
        assert text in shown, text


def test_policy_that_is_not_there_is_refused_with_those_that_are(eleagent: CommandLine) -> None:
    done = eleagent("policy", "show", "none")
    assert done.code != 0
    assert "no policy 'none'; there are: model-only, careful, offline" in done.err


def test_policies_are_told_to_programs(eleagent: CommandLine) -> None:
    assert msgspec.json.decode(eleagent("policy", "ls", "--json").out, type=PolicyList) == POLICIES
    one = msgspec.json.decode(eleagent("policy", "show", "careful", "--json").out)
    assert (one["policy"]["name"], one["default"], one["terms"]["keep_days"]) == ("careful", "model-only", 90)
