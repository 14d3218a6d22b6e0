"""How does one event read to a person? Pure: an event's payload in, lines out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec

from eleagent.cli.amounts import human_size
from eleagent.cli.screen import Span, Style, To
from eleagent.wire import events as ev
from eleagent.wire.approvals import Deciding
from eleagent.wire.driving import SessionDriver, SessionResumed
from eleagent.wire.inside import AgentAsked, AgentReported

RESULT_LINES: Final = 4
CARD_CHARS: Final = 160
TELLING: Final = ("command", "file_path", "path", "pattern", "url", "query", "description", "prompt")
"""Members of a tool's input that say the most, in order."""


class Line(NamedTuple):
    """`cut`: a glimpse of something longer."""

    to: To
    spans: tuple[Span, ...]
    cut: bool = False


def _note(style: Style, text: str, *, cut: bool = False) -> Line:
    return Line(To.ERR, ((style, text),), cut)


def lines(payload: ev.Payload) -> Iterator[Line]:
    """What to print for an event. Program output, questions and the end are the view's own."""
    match payload:
        case ev.SessionCreated():
            what = f"agent {payload.agent} · policy {payload.policy} · runtime {payload.runtime}"
            yield _note(Style.DIM, what + (f" · model {payload.model}" if payload.model else ""))
            if payload.scripted:
                yield _note(Style.WARN, "model: scripted rehearsal, no real model")
        case ev.SessionQueued():
            yield _note(Style.DIM, f"queued, place {payload.position}")
        case ev.DataUnreadable():
            yield from _unreadable(payload)
        case ev.SandboxAttested():
            yield from _attested(payload)
        case ev.SandboxViolation():
            for difference in payload.differences:
                yield _note(Style.BAD, f"isolation changed: {difference}")
        case ev.SessionAdopted():
            yield _note(Style.DIM, "the daemon came back and reads on")
        case ev.InputAccepted():
            yield Line(To.OUT, ((Style.BOLD, "> " + brief(payload.text)),), cut=True)
        case ev.AgentReady():
            yield _note(Style.DIM, f"agent {payload.version} · {payload.model} · {len(payload.tools)} tools")
        case ev.AgentMessage():
            indent = "  " if payload.parent else ""
            for text in payload.text.split("\n"):
                yield Line(To.OUT, ((Style.PLAIN, indent + text),))
        case ev.AgentToolCall():
            indent = "  " if payload.parent else ""
            argument = brief(telling(payload.input))
            yield Line(To.OUT, ((Style.NAME, f"{indent}● {payload.name}"), (Style.PLAIN, f"  {argument}")), cut=True)
        case ev.AgentToolResult():
            yield from _result(payload)
        case ev.AgentTurnFinished():
            if payload.is_error:
                yield _note(Style.BAD, f"the turn failed: {brief(payload.text) or payload.subtype}")
            elif not payload.confirmed:
                yield _note(
                    Style.WARN, "the agent says that its turn is over; the gateway did not see the model end it"
                )
        case ev.AgentNotice(kind="system.api_retry"):
            yield _note(Style.WARN, _retry(payload.detail))
        case ev.AgentNotice():
            yield _note(Style.DIM, f"{payload.kind}: {brief(payload.detail)}", cut=True)
        case ev.OutputGap():
            size = "an unknown amount" if payload.size_bytes is None else human_size(payload.size_bytes)
            yield _note(Style.WARN, f"{size} of output was not kept: {payload.reason}")
        case ev.ApprovalRequested():
            yield Line(To.OUT, ((Style.WARN, f"? {payload.tool}  "), (Style.PLAIN, payload.input)))
            yield _note(Style.DIM, f"  eleagent approve {payload.id}   or: eleagent deny {payload.id}")
        case ev.WallAsked():
            yield Line(To.OUT, ((Style.WARN, f"? {payload.kind} {payload.subject}  "), (Style.PLAIN, payload.why)))
            yield _note(Style.DIM, f"  eleagent approve {payload.id}   or: eleagent deny {payload.id}")
        case AgentReported():
            yield Line(To.OUT, ((Style.DIM, "… "), (Style.PLAIN, payload.text)))
        case AgentAsked():
            yield Line(To.OUT, ((Style.WARN, f"? {payload.subject}  "), (Style.PLAIN, payload.why)))
            yield _note(Style.DIM, f"  eleagent approve {payload.id}   or: eleagent deny {payload.id}")
        case ev.ApprovalAnswered():
            yield _answered(payload)
        case ev.EgressModel(allowed=False):
            yield _refused(f"{payload.method} {payload.path}", payload.reason, payload.rule, payload.count)
        case ev.EgressTunnel(allowed=False):
            yield _refused(f"{payload.host}:{payload.port}", payload.reason, payload.rule, payload.count)
        case ev.EgressTunnel():
            yield _note(Style.DIM, f"connected: {payload.host}:{payload.port} (rule {payload.rule})")
        case ev.SecurityFinding():
            yield _note(Style.BAD, f"security: {payload.kind}: {payload.detail}")
        case ev.ArtefactsSkipped():
            yield _note(Style.WARN, f"{payload.count} artefacts were not kept: {some(payload.items)}")
        case SessionResumed():
            yield _note(Style.DIM, f"goes on from {payload.resumed_from}, which ended at event {payload.events}")
        case SessionDriver(driver=""):
            yield _note(Style.DIM, f"nobody drives now (by {payload.by_user})")
        case SessionDriver():
            yield _note(
                Style.DIM,
                f"{payload.driver} drives" + ("" if payload.driver == payload.by_user else f" (by {payload.by_user})"),
            )
        case ev.SessionStopping():
            why = f": {payload.detail}" if payload.detail else ""
            yield _note(Style.DIM, f"stopping: {payload.reason} ({payload.by_user}){why}")
        case ev.LimitNear():
            yield _note(Style.WARN, payload.text)
        case ev.LimitMet(action="tell"):
            yield _note(Style.WARN, payload.text)
        case ev.LimitMet(action="pause"):
            yield _note(Style.WARN, f"{payload.text}: paused (eleagent approve lets it go on, eleagent deny ends it)")
        case ev.LimitsChanged():
            yield _note(Style.DIM, f"limits changed by {payload.by_user}")
        case ev.UsageUnpriced():
            yield _note(Style.WARN, f"no price is known for model {payload.model}: no limit on money holds it")
        case ev.SessionPaused():
            yield _note(Style.WARN, f"paused by {payload.by_user}" + (f": {payload.detail}" if payload.detail else ""))
        case ev.SessionUnpaused(running=True):
            yield _note(Style.DIM, f"goes on ({payload.by_user})")
        case _:
            pass


def _answered(payload: ev.ApprovalAnswered) -> Line:
    who = {
        Deciding.GRANT: f"by a standing grant of {payload.by_user} ({payload.grant})",
        Deciding.EXPIRY: "by itself",
        Deciding.UNATTENDED: "at once",
    }.get(payload.decided_by, f"by {payload.by_user}")
    comment = f": {payload.comment}" if payload.comment else ""
    style = Style.BAD if payload.unanswered else Style.DIM
    return _note(style, f"{payload.id} {'allowed' if payload.allow else 'denied'} {who}{comment}")


def _refused(what: str, reason: str, rule: str, count: int) -> Line:
    # The reason is the sentence that the agent was answered; most name what was asked for.
    reason = reason.removeprefix("EleAgent: ")
    times = f", {count} attempts of this rule" if count > 1 else ""
    return _note(Style.BAD, f"refused: {reason if what in reason else f'{what}: {reason}'} (rule {rule}{times})")


class _Retry(msgspec.Struct):
    """What Claude Code says before it asks the model again."""

    attempt: int
    max_retries: int
    error_status: int | None = None


def _retry(detail: str) -> str:
    try:
        retry = msgspec.json.decode(detail, type=_Retry)
    except msgspec.DecodeError:
        return "the model does not answer: trying again"
    status = f" (HTTP {retry.error_status})" if retry.error_status else ""
    return f"the model does not answer{status}: trying again, {retry.attempt} of {retry.max_retries}"


def _unreadable(payload: ev.DataUnreadable) -> Iterator[Line]:
    if payload.count:
        yield _note(
            Style.WARN, f"the agent can't read {payload.count} files of {payload.source}: {some(payload.paths)}"
        )
    if payload.masked:
        yield _note(Style.WARN, f"masked in {payload.source} (sockets, devices): {some(payload.masked)}")


def _attested(payload: ev.SandboxAttested) -> Iterator[Line]:
    report = payload.report
    found = sum(control.ok for control in report.controls)
    if report.complete:
        yield _note(Style.DIM, f"isolation attested: {found} of {len(report.controls)} controls found in the kernel")
    else:
        for control in report.failures:
            yield _note(Style.BAD, f"isolation: {control.name}: asked {control.asked}, found {control.found}")
    if report.missing_resources:
        yield _note(Style.WARN, f"best-effort: this host does not enforce {', '.join(report.missing_resources)}")


def _result(payload: ev.AgentToolResult) -> Iterator[Line]:
    style = Style.BAD if payload.is_error else Style.DIM
    indent = "    " if payload.parent else "  "
    shown = [text.rstrip() for text in payload.text.split("\n") if text.strip()]
    for number, text in enumerate(shown[:RESULT_LINES]):
        yield Line(To.OUT, ((style, f"{indent}{'└' if number == 0 else ' '} {_cut(text)}"),), cut=True)
    if (more := len(shown) - RESULT_LINES) > 0 or payload.truncated:
        yield Line(To.OUT, ((style, f"{indent}  … {f'{more} more lines' if more > 0 else 'more'}"),))


def telling(tool_input: str) -> str:
    """What a tool call is about: one member of its input where one is known, else the whole."""
    try:
        members = msgspec.json.decode(tool_input, type=dict[str, object])
    except msgspec.DecodeError:
        return tool_input
    return next(
        (value for name in TELLING if isinstance(value := members.get(name), str)), tool_input if members else ""
    )


def brief(text: str) -> str:
    """The first line, cut."""
    first, _, rest = text.strip().partition("\n")
    return _cut(first) + (" …" if rest and len(first) <= CARD_CHARS else "")


def _cut(text: str) -> str:
    return text if len(text) <= CARD_CHARS else text[: CARD_CHARS - 1] + "…"


def some(items: list[str], limit: int = 5) -> str:
    """A few of `items` and how many there are beside them."""
    return ", ".join(items[:limit]) + (f" and {len(items) - limit} more" if len(items) > limit else "")
