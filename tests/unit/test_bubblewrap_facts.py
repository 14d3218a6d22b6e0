"""Does doctor name what stands in bubblewrap's way, and what to do about it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from eleagent.errors import EngineUnavailable
from eleagent_daemon.domain.launch import HostFact
from eleagent_daemon.runtime import bubblewrap_facts as facts
from eleagent_daemon.runtime.groups import Groups

ALL = Groups(dict.fromkeys(("memory", "pids", "cpu"), Path("/x")), unified=True)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host of the test's own: `bin` holds its programs, `sys` what sysctl says."""
    (tmp_path / "bin").mkdir()
    for folder in ("user", "kernel"):
        (tmp_path / "sys" / folder).mkdir(parents=True)
    monkeypatch.setattr(facts, "_PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(facts, "_SYSCTL", tmp_path / "sys")
    monkeypatch.setattr(facts, "_trial", lambda: "")
    program(tmp_path, "bubblewrap 0.8.0")
    return tmp_path


def program(host: Path, says: str, mode: int = 0o755) -> None:
    (host / "bin" / "bwrap").write_text(f"#!/bin/sh\necho {says}\n")
    (host / "bin" / "bwrap").chmod(mode)


def named(groups: Groups = ALL) -> dict[str, HostFact]:
    return {fact.name: fact for fact in facts.bubblewrap_facts(groups)}


def test_facts_of_a_host_that_has_everything(host: Path) -> None:
    found = named()
    assert [found[name].level for name in ("bubblewrap", "user namespaces", "control groups")] == ["ok"] * 3


def test_facts_name_bwrap_that_is_missing_too_old_or_setuid(host: Path) -> None:
    program(host, "bubblewrap 0.4.1")
    assert named()["bubblewrap"] == HostFact(
        "bubblewrap",
        "fail",
        f"{host}/bin/bwrap is version 0.4.1, 0.5.0 or newer is needed",
        "apt-get install bubblewrap",
    )
    program(host, "bubblewrap 0.8.0", 0o4755)
    assert named()["bubblewrap"].fix == f"chmod u-s {host}/bin/bwrap"
    (host / "bin" / "bwrap").unlink()
    assert named()["bubblewrap"] == HostFact(
        "bubblewrap", "fail", "bubblewrap is missing", "apt-get install bubblewrap"
    )
    with pytest.raises(EngineUnavailable, match="apt-get install bubblewrap"):
        facts.find_program()


@pytest.mark.parametrize(
    ("setting", "value"), [("user/max_user_namespaces", "0"), ("kernel/unprivileged_userns_clone", "0")]
)
def test_facts_name_user_namespaces_that_are_switched_off(host: Path, setting: str, value: str) -> None:
    (host / "sys" / setting).write_text(f"{value}\n")
    fact = named()["user namespaces"]
    assert (fact.level, setting.replace("/", ".") in fact.found) == ("fail", True)
    assert fact.fix.startswith(f"sysctl -w {setting.replace('/', '.')}=")


@pytest.mark.parametrize(("trial", "level"), [("Operation not permitted", "fail"), ("", "warn")])
def test_facts_name_apparmors_restriction_and_the_profile(
    host: Path, trial: str, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host / "sys" / "kernel" / "apparmor_restrict_unprivileged_userns").write_text("1\n")
    monkeypatch.setattr(facts, "_trial", lambda: trial)
    fact = named()["apparmor"]
    assert fact.level == level
    assert "/usr/bin/bwrap flags=(unconfined) { userns, }" in fact.fix
    assert "apparmor_parser -r" in fact.fix


def test_facts_name_what_a_trial_says(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "_trial", lambda: "No space left on device: unshare")
    assert named()["user namespaces"].found == "No space left on device: unshare"


def test_facts_name_control_groups_that_are_missing(host: Path) -> None:
    fact = named(Groups({"pids": Path("/x")}, unified=True))["control groups"]
    assert (fact.level, fact.found) == ("warn", "version 2: no limits on memory, cpu")
