"""How are approvals listed, read and answered, and grants taken back?"""

from __future__ import annotations

import sys

import click

from eleagent.cli.invocation import Command, Group, Invocation, pass_invocation
from eleagent.cli.screen import Span, Style, To
from eleagent.errors import BadRequest
from eleagent.operations.approvals import APPROVAL_ANSWER, APPROVAL_GET, APPROVAL_LIST, GRANT_LIST, GRANT_REVOKE
from eleagent.wire.approvals import Approval, ApprovalAnswer, ApprovalList, ApprovalState, Grant, GrantList

_STATES = {
    ApprovalState.OPEN: Style.WARN,
    ApprovalState.ALLOWED: Style.GOOD,
    ApprovalState.DENIED: Style.BAD,
    ApprovalState.EXPIRED: Style.BAD,
}


@click.group(cls=Group)
def approval() -> None:
    """What sessions ask people for: a host, a credential, a budget, a tool."""


@approval.command()
@click.argument("key", required=False)
@click.option("-a", "--all", "everything", is_flag=True, help="Answered ones too.")
@click.option("-n", "--limit", type=click.IntRange(1), help="At most so many.")
@pass_invocation
def ls(invocation: Invocation, key: str | None, everything: bool, limit: int | None) -> None:
    """List open questions, of session KEY alone or of all."""
    query = {"all": everything or None, "limit": limit, "session": _resolve(invocation, key) if key else None}
    found: ApprovalList = invocation.client.call(APPROVAL_LIST, query=query)
    screen = invocation.screen
    if invocation.json:
        invocation.emit(found)
    elif invocation.quiet:
        for one in found.approvals:
            screen.line(one.id)
    elif found.approvals:
        head = ["ID", "SESSION", "KIND", "WHAT", "STATE", "EXPIRES"]
        screen.table(head, [_row(one) for one in found.approvals])
    else:
        screen.note("nothing was asked" if everything else "nothing waits for an answer")


def _row(one: Approval) -> list[Span | str]:
    from eleagent.cli.asking import left

    state = (_STATES.get(one.state, Style.DIM), one.state)
    expires = left(one.expires) if one.state is ApprovalState.OPEN else ""
    return [one.id, one.session, one.kind, one.subject, state, expires or "-"]


@approval.command()
@click.argument("identifier", metavar="ID")
@pass_invocation
def show(invocation: Invocation, identifier: str) -> None:
    """Show one question whole, and what came of it."""
    from eleagent.cli import asking

    one: Approval = invocation.client.call(APPROVAL_GET, id=identifier)
    if invocation.json:
        invocation.emit(one)
        return
    asking.show(invocation.screen, one)
    facts = {
        "session": f"{one.session} ({one.owner}, agent {one.agent}, policy {one.policy})",
        "asked": one.asked, "state": one.state, "decided by": " ".join(filter(None, (one.decided_by, one.by_user))),
        "answered": one.answered or "", "comment": one.comment, "grant": one.grant,
        "delivery": one.delivery if one.answered else "",
    }  # fmt: skip
    for name, value in facts.items():
        if value:
            invocation.screen.line((Style.DIM, f"{name:<12}"), value)


@approval.command()
@click.option("-a", "--all", "everything", is_flag=True, help="Revoked ones too.")
@pass_invocation
def grants(invocation: Invocation, everything: bool) -> None:
    """List standing grants, which `approve --always` makes."""
    found: GrantList = invocation.client.call(GRANT_LIST, query={"all": everything or None})
    screen = invocation.screen
    if invocation.json:
        invocation.emit(found)
    elif found.grants:
        screen.table(
            ["ID", "OWNER", "AGENT", "POLICY", "KIND", "WHAT", "BY", "SINCE"],
            [_grant_row(one) for one in found.grants],
        )
    else:
        screen.note("no standing grants")


def _grant_row(one: Grant) -> list[Span | str]:
    what = f"{one.subject} {one.parameters}".rstrip()
    since = f"revoked by {one.revoked_by}" if one.revoked else one.created
    return [one.id, one.owner, one.agent, one.policy, one.kind, what, one.by_user, since]


@approval.command()
@click.argument("identifiers", nargs=-1, required=True, metavar="GRANT…")
@pass_invocation
def revoke(invocation: Invocation, identifiers: tuple[str, ...]) -> None:
    """Take standing grants back; the next time it is asked again."""
    for identifier in identifiers:
        grant: Grant = invocation.client.call(GRANT_REVOKE, id=identifier)
        if invocation.json:
            invocation.emit(grant)
        elif not invocation.quiet:
            invocation.screen.line(grant.id, " revoked: ", f"{grant.kind} {grant.subject}")


@click.command(cls=Command)
@click.argument("identifier", required=False, metavar="[ID]")
@click.option("--always", is_flag=True, help="For exactly this from now on, not only for this session.")
@click.option("--comment", default="", help="Kept with the answer.")
@pass_invocation
def approve(invocation: Invocation, identifier: str | None, always: bool, comment: str) -> None:
    """Allow what a session asks for; without ID the only open question."""
    body = ApprovalAnswer(allow=True, always=always, comment=comment)
    _answer(invocation, identifier or _only(invocation, confirm=True), body)


@click.command(cls=Command)
@click.argument("identifier", required=False, metavar="[ID]")
@click.option("--comment", default="", help="Kept with the answer, and told to the agent.")
@pass_invocation
def deny(invocation: Invocation, identifier: str | None, comment: str) -> None:
    """Deny what a session asks for; without ID the only open question."""
    _answer(invocation, identifier or _only(invocation), ApprovalAnswer(allow=False, comment=comment))


def _answer(invocation: Invocation, identifier: str, body: ApprovalAnswer) -> None:
    answered: Approval = invocation.client.call(APPROVAL_ANSWER, body=body, id=identifier)
    if invocation.json:
        invocation.emit(answered)
    elif not invocation.quiet:
        grant = f" for always (grant {answered.grant})" if body.always else ""
        style = _STATES[answered.state]
        what = f" {answered.kind} {answered.subject} of {answered.session}{grant}"
        invocation.screen.line(answered.id, " ", (style, answered.state), what)


def _only(invocation: Invocation, *, confirm: bool = False) -> str:
    """The only open question's id. Raises BadRequest when there is none, or several; `confirm` shows it to a person
    first.
    """
    from eleagent.cli import asking

    found: ApprovalList = invocation.client.call(APPROVAL_LIST)
    if not found.approvals:
        raise BadRequest("nothing waits for an answer")
    if len(found.approvals) > 1:
        listed = "; ".join(f"{one.id} {asking.title(one)}" for one in found.approvals[:10])
        raise BadRequest(f"{len(found.approvals)} questions wait, name one: {listed}")
    identifier = found.approvals[0].id
    if confirm and not invocation.yes and sys.stdin.isatty() and invocation.screen.is_terminal(To.ERR):
        asking.show(invocation.screen, invocation.client.call(APPROVAL_GET, id=identifier), to=To.ERR)
        invocation.screen.prompt("Allow? [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise click.Abort
    return identifier


def _resolve(invocation: Invocation, key: str) -> str:
    from eleagent.operations.sessions import SESSION_GET

    return str(invocation.client.call(SESSION_GET, key=key).session.key)
