"""Is what the daemon tells of its policies what it was set up with?"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from eleagent_daemon.api.policies import PolicyHandlers
from eleagent_daemon.assembly.faces import policy_terms
from eleagent_daemon.config import load
from eleagent_daemon.settings import Config

FILE = """
[session]
policy = "careful"
keep_days = 7
timeout_s = 60
[limits]
pids = 99
[budget]
session_usd = 1.5
key_day_usd = 2
[policies.careful]
tunnel = ["git.example.org"]
server_tools = ["web_search", "code_execution"]
approvals = { hosts = true, expires_s = 0 }
[policies.model-only]
tunnel = [".example.com:8443"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "config.toml"
    file.write_text(FILE, encoding="utf-8")
    config, _ = load({"home": str(tmp_path)}, environ={}, file=file)
    return config


async def test_policies_in_force_are_those_of_the_configuration(config: Config) -> None:
    told = await PolicyHandlers(
        policies=config.all_policies(), default=config.session.policy, terms=policy_terms(config)
    ).list_(cast(Any, None))
    named = {one.name: one for one in told.policies}
    assert told.default == "careful"
    assert set(named) == {"model-only", "seed-connect", "careful"}
    careful = named["careful"]
    assert (careful.tunnel, careful.server_tools) == (["git.example.org:443"], ["code_execution", "web_search"])
    assert (careful.approvals.hosts, careful.approvals.credentials, careful.approvals.expires_s) == (True, False, 0)
    # One of the file's goes before the built-in one of its name, and is not called built in.
    assert (named["model-only"].tunnel, named["model-only"].built_in) == ([".example.com:8443"], False)
    assert (named["seed-connect"].tunnel, named["seed-connect"].built_in) == (
        [".anthropic.com:443", ".claude.com:443"], True,
    )  # fmt: skip


def test_terms_are_those_of_the_configuration(config: Config) -> None:
    terms = policy_terms(config)
    limits = terms.limits
    assert (terms.mode, terms.timeout_s, terms.keep_days, terms.audit_keep_days) == ("strict", 60, 7, 400)
    assert (limits.pids, limits.memory_bytes, limits.max_cost_usd, limits.stop_grace_s) == (99, 2 << 30, 1.5, 3)
    assert (terms.user_day_usd, terms.key_day_usd, terms.project_day_usd) == (50, 2, 0)
