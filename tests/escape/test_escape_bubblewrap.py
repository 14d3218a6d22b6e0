"""Does a sandbox that bubblewrap makes from our spec hold everything that is tried in it, as root's and as a person's?

What this host can't limit is left out here, and must be what doctor and the attestation name.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from eleagent_daemon.runtime.bubblewrap_facts import bubblewrap_facts
from eleagent_daemon.runtime.groups import Groups

from .harness import Arena, BubblewrapSandboxes, list_probes, run_probes
from .lab import Lab

pytestmark = pytest.mark.bubblewrap

UNLIMITED = {
    "memory": frozenset({"memory-bomb", "memory-by-files"}),
    "cpu": frozenset({"cpu-share"}),
    "pids": frozenset(),  # an rlimit does
    "session disks": frozenset({"fill-disk", "fill-disk-at-once", "inode-bomb", "mount-writable-twice"}),
}
"""What doctor names: the probes that get through for it."""


def named() -> frozenset[str]:
    """The probes that doctor's words on this host account for."""
    warnings = {fact.name: fact.found for fact in bubblewrap_facts(Groups.find()) if fact.level == "warn"}
    controllers = warnings.get("control groups", "").partition("no limits on ")[2].split(", ")
    causes = [*(cause for cause in controllers if cause), *(name for name in warnings if name in UNLIMITED)]
    return frozenset().union(*(UNLIMITED[cause] for cause in causes))


def test_sandbox_holds_every_probe(arena: Arena, escape_lab: Lab) -> None:
    before = escape_lab.seen()
    left_out = named()
    assert os.getuid() or not left_out
    wanted = {each.probe for each in list_probes() if not each.group} - left_out
    answers = run_probes(BubblewrapSandboxes(), arena, only=sorted(wanted))
    assert set(answers) == wanted
    assert [str(each) for each in answers.values() if not each.contained] == []
    assert escape_lab.seen() == before


@pytest.mark.skipif(os.getuid() != 0, reason="a person's sandboxes are all his")
def test_neighbour_works_while_another_user_takes_everything(arena: Arena) -> None:
    greedy = replace(arena, uid=arena.uid + 1)
    with BubblewrapSandboxes().box(["python3", "/data/probes", "--hold", "30"], greedy) as box:
        box.wait_for("held: ")
        answers = run_probes(BubblewrapSandboxes(), arena, only=["limits-are-ours"])
        assert [str(each) for each in answers.values() if not each.contained] == []
