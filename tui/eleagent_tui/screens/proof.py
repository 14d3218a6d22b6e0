"""What is a session, what did it use, and what proves its isolation?"""

from __future__ import annotations

from collections.abc import Iterator

from eleagent.cli.report import facts
from eleagent.wire.attestation import Report
from eleagent.wire.sessions import SessionDetail
from eleagent_tui.cards import role_of
from eleagent_tui.rows import Row, indented, shown_line, wrap, wrap_spans
from eleagent_tui.screens.facts import SessionFacts


class Proof(SessionFacts):
    """Facts, usage, and each control of the sandbox: what was asked, what the kernel said, and where it was read."""

    TITLE = "Proof"
    CRUMB = "proof of isolation"

    def rows(self, detail: SessionDetail, width: int) -> Iterator[Row]:
        return rows(detail, width)


def rows(detail: SessionDetail, width: int) -> Iterator[Row]:
    for name, (style, value) in facts(detail.session):
        if value:
            lines = wrap(shown_line(value), width - 12, role_of(style))
            yield from indented(lines, ("dim", f"{name:<12}"), " " * 12)
    yield ()
    if detail.report is None:
        yield (("warn", "isolation   not attested: the sandbox was never released"),)
    else:
        yield from _isolation(detail.report, width)


def _isolation(report: Report, width: int) -> Iterator[Row]:
    found = sum(control.ok for control in report.controls)
    verdict = ("good", "complete") if report.complete else ("bad", "NOT complete")
    yield (("dim", "isolation   "), verdict, ("", f"  {found} of {len(report.controls)} controls · {report.runtime}"))
    bound = report.binding
    text = (
        f"sandbox {bound.sandbox_id[:12]} started {bound.started_at} · pid {bound.pid} "
        f"(start {bound.pid_start_ticks}) · network namespace {bound.netns_inode}"
    )
    yield from indented(wrap(shown_line(text), width - 12), ("dim", "bound to    "), " " * 12)
    if report.missing_resources:
        missing = f"best-effort: this host does not enforce {', '.join(report.missing_resources)}"
        yield from wrap(shown_line(missing), width, "warn")
    yield ()
    for control in sorted(report.controls, key=lambda one: (one.ok, one.cls)):
        mark = ("good", "✓ ") if control.ok else ("bad", "✗ ")
        found_text = (
            control.asked if control.ok and control.asked == control.found else f"{control.asked} → {control.found}"
        )
        spans = [
            ("bold", shown_line(control.name)),
            ("", f"  {shown_line(found_text)}"),
            ("dim", f"  ({shown_line(control.source)})"),
        ]
        yield from indented(wrap_spans(spans, width - 2), mark, "  ")
