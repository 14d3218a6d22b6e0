"""What may leave a sandbox here, what holds for every session, and which setting changes it?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from eleagent.cli.invocation import Group, Invocation, pass_invocation
from eleagent.cli.limits import span
from eleagent.cli.screen import Span, Style
from eleagent.errors import NotFound
from eleagent.operations.policies import POLICY_LIST
from eleagent.wire.limits import OnLimit
from eleagent.wire.policies import Policy, PolicyApprovals, PolicyList, PolicyTerms


class Line(NamedTuple):
    """`setting` is what changes it, in the daemon's configuration."""

    name: str
    text: str
    setting: str


@click.group(cls=Group)
def policy() -> None:
    """Policies: what may leave a sandbox, and who is asked. The daemon's configuration has them ([policies.NAME])."""


@policy.command("ls")
@pass_invocation
def list_(invocation: Invocation) -> None:
    """List the policies that are in force in the daemon."""
    found: PolicyList = invocation.client.call(POLICY_LIST)
    if invocation.json:
        invocation.emit(found)
        return
    head = ["POLICY", "TUNNEL", "MODEL", "ASKS FOR", "FROM"]
    invocation.screen.table(head, [_row(one, found.default) for one in found.policies])


@policy.command()
@click.argument("name", default="")
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Show what holds under a policy, by default under that of a session that names none."""
    found: PolicyList = invocation.client.call(POLICY_LIST)
    wanted = name or found.default
    one = next((one for one in found.policies if one.name == wanted), None)
    if one is None:
        raise NotFound(f"no policy {wanted!r}; there are: {', '.join(one.name for one in found.policies)}")
    if invocation.json:
        invocation.emit({"policy": one, "default": found.default, "terms": found.terms})
        return
    for line in (*policy_lines(one, found.default), *term_lines(found.terms)):
        setting: Span = (Style.DIM, f"  ({line.setting})" if line.setting else "")
        invocation.screen.line((Style.DIM, f"{line.name:<11} "), line.text, setting)


def _row(one: Policy, default: str) -> list[Span | str]:
    asks = ", ".join(_asked(one.approvals)) or "nothing"
    return [
        (Style.BOLD, one.name) if one.name == default else one.name,
        ", ".join(one.tunnel) or "shut",
        ("open, also " + ", ".join(one.server_tools) if one.server_tools else "open") if one.model else "shut",
        asks,
        "built in" if one.built_in else "configuration",
    ]


def policy_lines(one: Policy, default: str) -> Iterator[Line]:
    """What it lets out, in sentences."""
    table = f"policies.{one.name}"
    origin = "built in" if one.built_in else "of the configuration"
    holds = ", in force where none is named" if one.name == default else ""
    yield Line("policy", f"{one.name} ({origin}{holds})", "session.policy; run --policy")
    tunnel = f"to {', '.join(one.tunnel)} alone" if one.tunnel else "shut: nothing passes the tunnel door"
    if one.tunnel and one.approvals.hosts:
        tunnel = f"to {', '.join(one.tunnel)}"
    yield Line("tunnel", tunnel, f"{table}.tunnel")
    if one.model:
        passing = f"; {', '.join(one.server_tools)} may run at the provider" if one.server_tools else ""
        others = "other server-side tools" if one.server_tools else "server-side tools"
        refused = f"{others}, MCP servers and URL sources are refused"
        yield Line("model", f"open{passing}; {refused}", f"{table}.server_tools")
    else:
        yield Line("model", "shut: no agent of a model can work under it", f"{table}.model")
    yield Line("approvals", _approvals(one.approvals), f"{table}.approvals")


def _approvals(asks: PolicyApprovals) -> str:
    if not (about := _asked(asks)):
        return "nobody is asked: what is not let out is refused"
    ends = f"denied after {span(asks.expires_s)} without an answer" if asks.expires_s else "a question never expires"
    return f"a person is asked for {' and '.join(about)}; {ends}; the connection is held for {span(asks.hold_s)}"


def _asked(asks: PolicyApprovals) -> list[str]:
    named = {"a host without a rule": asks.hosts, "the first use of a credential": asks.credentials}
    return [what for what, is_asked in named.items() if is_asked]


def term_lines(terms: PolicyTerms) -> Iterator[Line]:
    """What holds under every policy for a session that asks for no other."""
    limits = terms.limits
    lacking = "refuses the start" if terms.mode == "strict" else "is named, and the session runs"
    yield Line("resources", f"{terms.mode}: a limit that the host can't enforce {lacking}", "session.mode")
    sandbox = (
        f"{_size(limits.memory_bytes)} memory", f"{limits.cpus or 0:g} cpus", f"{limits.pids} processes",
        f"{_size(limits.disk_bytes)} disk",
    )  # fmt: skip
    yield Line("sandbox", " · ".join(sandbox), "limits.*; run --memory …")
    yield Line("time", " · ".join(_times(terms)), "session.*; run --timeout …")
    yield Line("spending", " · ".join(_spending(terms)) or "no limit", "budget.*; run --max-cost …")
    at_limit = "the session is stopped" if limits.on_limit is OnLimit.STOP else "the session is paused, a person asked"
    yield Line("at a limit", at_limit, "budget.on_limit; run --on-limit")
    kept = f"deleted {terms.keep_days:g} days after its end" if terms.keep_days else "kept for ever"
    yield Line("retention", f"a session is {kept}", "session.keep_days")
    yield Line("audit log", f"kept for {terms.audit_keep_days} days", "audit.retention_days")


def _times(terms: PolicyTerms) -> Iterator[str]:
    yield span(terms.timeout_s)
    if terms.limits.idle_timeout_s:
        yield f"{span(terms.limits.idle_timeout_s)} without progress"
    if terms.limits.stop_grace_s is not None:
        yield f"{span(terms.limits.stop_grace_s)} from SIGTERM to SIGKILL"


def _spending(terms: PolicyTerms) -> Iterator[str]:
    limits = terms.limits
    for usd, whose in (
        (limits.max_cost_usd, "a session"), (terms.user_day_usd, "a user and day"),
        (terms.key_day_usd, "an API key and day"), (terms.project_day_usd, "a project and day"),
    ):  # fmt: skip
        if usd:
            yield f"{usd:g} USD {whose}"
    if limits.max_tokens:
        yield f"{limits.max_tokens:,} tokens"
    if limits.max_turns:
        yield f"{limits.max_turns} turns"
    if limits.max_egress_bytes:
        yield f"{_size(limits.max_egress_bytes)} out"


def _size(size_bytes: int | None) -> str:
    size = size_bytes or 0
    return f"{size / (1 << 30):g} GiB" if size >= 1 << 30 else f"{size / (1 << 20):g} MiB"
