"""Where a policy says so, who is asked before a door lets something through?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from eleagent.errors import EleAgentError
from eleagent.wire.approvals import ApprovalKind
from eleagent_daemon.domain.doors import Ruling, Wall
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.gateway.denial import Denied

AskPerson = Callable[[Wall], Awaitable[Ruling]]


async def ask_person(ask: AskPerson, policy: Policy, kind: ApprovalKind, subject: str, why: str) -> str:
    """The rule by which a person let it through. It waits as long as the policy holds who asks; raises Denied."""
    try:
        ruling = await ask(Wall(kind=kind, subject=subject, why=why, hold_s=policy.approvals.hold_s))
    except EleAgentError as error:
        message = f"EleAgent: {kind} {subject} is refused, since nobody can be asked: {error.message}"
        raise Denied("approval", message) from error
    rule = f"approval {ruling.approval}".rstrip()
    if not ruling.allowed:
        raise Denied(rule, f"EleAgent: {ruling.reason}")
    return rule
