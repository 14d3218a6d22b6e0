"""Are the files that are no Python there, in a checkout and in an installed wheel alike?"""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from eleagent.errors import NotFound
from eleagent_daemon.agents.files import get_dockerfile, get_lock


def test_lock_names_one_exact_binary() -> None:
    lock = get_lock("claude")
    assert re.fullmatch(r"[0-9a-f]{64}", lock.sha256)
    assert lock.npm.endswith(f"@{lock.version}")
    assert "==" in lock.pypi
    assert lock.size_bytes > 1 << 20


@pytest.mark.parametrize("agent", ["claude", "command"])
def test_dockerfile_makes_every_mount_point(agent: str) -> None:
    text = get_dockerfile(agent)
    assert text.splitlines()[-1]
    for place in ("/data", "/artefacts", "/workspace", "/home/agent"):
        assert place in text, f"{agent}: a read-only root without {place} can't be mounted on"


def test_dockerfile_of_claude_takes_the_binary_from_the_build_context() -> None:
    assert "COPY claude /usr/local/bin/claude" in get_dockerfile("claude").splitlines()


def test_files_of_an_unknown_agent_are_not_found() -> None:
    with pytest.raises(NotFound, match="nobody"):
        get_lock("nobody")
    with pytest.raises(NotFound, match="claude, command"):
        get_dockerfile("nobody")


@pytest.mark.parametrize("name", ["../claude/Dockerfile", "claude/..", ""])
def test_dockerfile_of_a_path_is_not_found(name: str) -> None:
    with pytest.raises(NotFound):
        get_dockerfile(name)


def test_data_seccomp_profile_is_in_the_package() -> None:
    profile = json.loads((files("eleagent_daemon.domain") / "seccomp.json").read_text(encoding="utf-8"))
    assert profile["numbers"], "an empty allow-list would let no program start"


def test_data_migrations_are_in_the_package() -> None:
    migrations = files("eleagent_daemon.store") / "migrations"
    databases = {folder.name: sorted(path.name for path in folder.iterdir()) for folder in migrations.iterdir()}
    assert "registry" in databases
    for database, names in databases.items():
        assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1)), database
