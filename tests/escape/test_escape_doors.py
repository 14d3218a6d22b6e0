"""Do the doors, as launcher and gateway make them, hold what a sandbox says to them?"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent_daemon.domain.doors import PLACEHOLDER_KEY, Terms
from eleagent_daemon.domain.policy import MODEL_ONLY, SEED_CONNECT, Policy
from eleagent_daemon.domain.sandbox import Doors
from eleagent_daemon.gateway.credentials import Credential
from eleagent_daemon.gateway.service import Gateway
from eleagent_daemon.launcher import doors

from ..doorsink import Admitting
from .conftest import CANARY
from .harness import Arena, DockerSandboxes, Engine, Told, list_probes, probe_argv, told
from .lab import Lab

pytestmark = pytest.mark.engine

SCRIPT = '[[step]]\ntext = "hello"\n'
WAIT_FOR_DOORS = 'until grep -q ":032A .* 0A " /proc/net/tcp; do sleep 0.05; done; exec "$@"'
"""032A is port 810, 0A a listening socket."""

Observed = EgressModel | EgressTunnel | SecurityFinding


@dataclass
class Records(Admitting):
    """A sink in memory."""

    payloads: list[Observed] = field(default_factory=list)

    async def record(self, payload: Observed, *, admitted: bool) -> None:
        self.payloads.append(payload)


async def run_behind_doors(
    sandboxes: DockerSandboxes, arena: Arena, policy: Policy, *, only: Sequence[str] = (), group: str = ""
) -> tuple[dict[str, Told], list[Observed]]:
    """Probes in a sandbox whose doors are served by the real gateway, and what that recorded."""
    facing = replace(arena, facts=arena.facts | {"open_doors": list(Doors(model=810).ports().values())})
    argv = ["env", f"ANTHROPIC_API_KEY={PLACEHOLDER_KEY}", *probe_argv(facing, only=only, group=group)]
    records, gateway = Records(), Gateway(credential=Credential.api_key(CANARY))
    with sandboxes.box(["sh", "-c", WAIT_FOR_DOORS, "sh", *argv], facing) as box:
        network = Path(f"/proc/{box.pid()}/ns/net").stat().st_ino
        sockets = await doors.bind(box.pid(), network, Doors(model=810).ports())
        opened = await gateway.open(sockets, Terms("s-aaaaaaaaaa", policy, SCRIPT), records)
        try:
            output = await asyncio.to_thread(box.ended, 90.0)
        finally:
            await opened.close()
            await gateway.close()
    return told(output), records.payloads


@pytest.fixture
def sandboxes(escape_engine: Engine) -> DockerSandboxes:
    return DockerSandboxes(escape_engine)


@pytest.mark.parametrize("group", ["tunnel", "model"])
async def test_doors_hold_every_probe(group: str, sandboxes: DockerSandboxes, arena: Arena, escape_lab: Lab) -> None:
    before = escape_lab.seen()
    answers, recorded = await run_behind_doors(sandboxes, arena, MODEL_ONLY, group=group)
    assert set(answers) == {each.probe for each in list_probes() if each.group == group}
    assert [str(each) for each in answers.values() if not each.contained] == []
    assert escape_lab.seen() == before
    assert [each for each in recorded if isinstance(each, EgressTunnel) and each.allowed] == []
    assert len([each for each in recorded if isinstance(each, EgressTunnel | EgressModel)]) >= 10


async def test_model_door_passes_what_it_should(sandboxes: DockerSandboxes, arena: Arena) -> None:
    """A door that refuses everything would hold every probe too."""
    answers, recorded = await run_behind_doors(sandboxes, arena, MODEL_ONLY, only=["model-plain"])
    assert answers["model-plain"].outcome == "200"
    assert [each.allowed for each in recorded if isinstance(each, EgressModel)] == [True]


async def test_foreign_key_is_a_finding(sandboxes: DockerSandboxes, arena: Arena) -> None:
    _, recorded = await run_behind_doors(sandboxes, arena, MODEL_ONLY, only=["model-foreign-key"])
    findings = [each for each in recorded if isinstance(each, SecurityFinding)]
    assert {each.kind for each in findings} == {"foreign_credential"}
    assert len(findings) == 6


async def test_wider_policy_still_holds_addresses_and_spellings(
    sandboxes: DockerSandboxes, arena: Arena, escape_lab: Lab
) -> None:
    before = escape_lab.seen()
    probes = ["tunnel-addresses", "tunnel-ports", "tunnel-spellings", "tunnel-plain-requests"]
    answers, recorded = await run_behind_doors(sandboxes, arena, SEED_CONNECT, only=probes)
    assert [str(each) for each in answers.values() if not each.contained] == []
    assert [each for each in recorded if isinstance(each, EgressTunnel) and each.allowed] == []
    assert escape_lab.seen() == before
