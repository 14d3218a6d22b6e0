"""How is a session and the proof of its isolation shown?"""

from __future__ import annotations

import msgspec

from eleagent.cli.cards import some
from eleagent.cli.limits import told
from eleagent.cli.observed import Observed, show_observed
from eleagent.cli.screen import Screen, Span, Style
from eleagent.cli.states import state_span
from eleagent.cli.views import payload_of
from eleagent.wire.attestation import Report
from eleagent.wire.events import EgressModel, EgressTunnel, SecurityFinding
from eleagent.wire.sessions import Session, SessionDetail, Usage
from eleagent.wire.timeline import Event


class Egress(msgspec.Struct):
    """What left the sandbox and what was refused, counted from the timeline; names are mapped to how often."""

    model_requests: int = 0
    tunnels: dict[str, int] = {}
    refused: dict[str, int] = {}
    bytes_up: int = 0
    bytes_down: int = 0
    findings: list[str] = []

    def take(self, event: Event) -> None:
        match payload_of(event) if event.type.startswith(("egress.", "security.")) else None:
            case SecurityFinding(kind, detail, count):
                self.findings.append(f"{kind}: {detail}" + (f" (and {count - 1} more)" if count > 1 else ""))
            case EgressModel() as model:
                self.model_requests += model.allowed
                self._count(model, f"{model.method} {model.path} ({model.reason or model.rule})")
            case EgressTunnel() as tunnel:
                self._count(tunnel, f"{tunnel.host}:{tunnel.port}")

    def _count(self, attempt: EgressModel | EgressTunnel, name: str) -> None:
        self.bytes_up += attempt.bytes_up
        self.bytes_down += attempt.bytes_down
        if not attempt.allowed:
            self.refused[name] = self.refused.get(name, 0) + attempt.count
        elif isinstance(attempt, EgressTunnel):
            self.tunnels[name] = self.tunnels.get(name, 0) + 1


def show_session(screen: Screen, detail: SessionDetail, egress: Egress, observed: Observed) -> None:
    """Facts, egress, what was observed inside, artefacts and isolation, in this order."""
    session = detail.session
    for name, value in facts(session):
        if value[1]:
            screen.line((Style.DIM, f"{name:<12}"), value)
    for view in session.views:
        read = (Style.WARN, f"{view.by_user} ({view.what}, {view.at}): {view.why}")
        screen.line((Style.DIM, f"{'read by':<12}"), read)
    screen.line((Style.DIM, "egress      "), _egress(egress))
    for name, count in egress.refused.items():
        screen.line("            ", (Style.BAD, "refused "), f"{count} x {name}")
    for finding in egress.findings:
        screen.line("            ", (Style.BAD, "finding "), finding)
    show_observed(screen, observed, session.key)
    screen.line((Style.DIM, "artefacts   "), f"{session.artefacts}   (eleagent artefact ls {session.key})")
    screen.line("")
    if detail.report is None:
        screen.line((Style.WARN, "isolation   not attested: the sandbox was never released"))
    else:
        _isolation(screen, detail.report)


def facts(session: Session) -> list[tuple[str, Span]]:
    """What there is to say about a session by name; an empty value is nothing to say."""
    agent = " ".join(filter(None, (session.agent, session.agent_version)))
    ended = f"{session.reason or ''} · exit {session.exit_code}" if session.state.ended else ""
    name = session.name if session.name != session.key else ""
    plain = {
        "name": name, "title": session.title, "ended as": ended, "owner": session.owner, "agent": agent,
        "binary": f"sha256 {session.agent_digest}" if session.agent_digest else "", "image": session.image or "",
        "model": "scripted rehearsal, no real model" if session.scripted else session.model or "",
        "deletion": session.deletion_due or "",
        "resumed from": session.resumed_from, "resumed by": session.resumed_by, "driver": session.driver,
        "policy": session.policy, "data": some(session.data), "created": session.created,
        "started": session.started or "", "ended": session.ended or "", "tokens": tokens(session.usage),
        "limits": told(session), "paused by": some(session.paused_by),
        "kept until": session.kept_until or "",
    }  # fmt: skip
    shown = [(name, (Style.PLAIN, value)) for name, value in plain.items()]
    return [("session", (Style.BOLD, session.key)), ("state", state_span(session.state)), *shown]


def tokens(usage: Usage) -> str:
    """Empty where no model was asked."""
    if not usage.requests:
        return ""
    cached = f" · {usage.cache_read_tokens:,} from cache" if usage.cache_read_tokens else ""
    unpriced = f" + {usage.unpriced_tokens:,} tokens without a price" if usage.unpriced_tokens else ""
    cost = f" · {usage.cost_microusd / 1_000_000:.2f} USD{unpriced}" if usage.cost_microusd or unpriced else ""
    return f"{usage.input_tokens:,} in · {usage.output_tokens:,} out{cached} · {usage.requests} requests{cost}"


def _egress(egress: Egress) -> str:
    tunnels = some([f"{name} x {count}" for name, count in egress.tunnels.items()]) or "no tunnels"
    refused = sum(egress.refused.values())
    volume = f"{egress.bytes_up:,} bytes up, {egress.bytes_down:,} down"
    return f"{egress.model_requests} model requests · {tunnels} · {refused} refused · {volume}"


def _isolation(screen: Screen, report: Report) -> None:
    found = sum(control.ok for control in report.controls)
    verdict = (Style.GOOD, "complete") if report.complete else (Style.BAD, "NOT complete")
    screen.line(
        (Style.DIM, "isolation   "),
        verdict,
        f"   {found} of {len(report.controls)} controls as asked · {report.runtime}",
    )
    bound = report.binding
    screen.line(
        (Style.DIM, "bound to    "),
        f"sandbox {bound.sandbox_id[:12]} started {bound.started_at} · pid {bound.pid} (start {bound.pid_start_ticks})",
        f" · network namespace {bound.netns_inode}",
    )
    if report.missing_resources:
        screen.line((Style.WARN, f"best-effort this host does not enforce {', '.join(report.missing_resources)}"))
    screen.line("")
    screen.table(
        ["CONTROL", "OK", "ASKED", "FOUND", "SOURCE"],
        [
            [
                control.name,
                (Style.GOOD, "yes") if control.ok else (Style.BAD, "NO"),
                control.asked,
                control.found,
                control.source,
            ]
            for control in report.controls
        ],
    )
