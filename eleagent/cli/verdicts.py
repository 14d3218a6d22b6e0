"""How is a person told whether an audit log, or an export of it, holds?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from eleagent.cli.invocation import Invocation
from eleagent.cli.screen import Span, Style
from eleagent.errors import BadRequest
from eleagent.transparency.export import verify_export
from eleagent.transparency.note import VerifierKey
from eleagent.transparency.verify import Verdict, verify


def keys_of(given: Iterable[str]) -> list[VerifierKey]:
    """Verifier keys, each given as one or as a file with some. Raises BadRequest."""
    return [key for text in given for key in _keys(text)]


def tell_log(invocation: Invocation, folder: Path, trusted: Sequence[VerifierKey], held: Sequence[str]) -> bool:
    """Whether every log in the folder holds, and fits the checkpoints that are held. Raises TamperFound where there is
    none.
    """
    verdicts = verify(folder, keys=trusted, held=held)
    holds = all(verdict.holds for verdict in verdicts)
    if invocation.json:
        invocation.emit({"holds": holds, "logs": [_told(verdict) for verdict in verdicts]})
    else:
        for verdict in verdicts:
            _report(invocation, verdict)
        if held and holds:
            invocation.screen.line(f"{len(held)} checkpoints that you hold are of this log")
    return holds


def tell_export(invocation: Invocation, file: Path, trusted: Sequence[VerifierKey]) -> bool:
    with file.open("rb") as lines:
        verdict = verify_export(lines, keys=trusted)
    if invocation.json:
        said = {name: getattr(verdict, name) for name in _EXPORT}
        signed = {origin: {"size": one.size, "root": one.root.hex()} for origin, one in verdict.checkpoints.items()}
        invocation.emit(said | {"logs": signed})
        return verdict.holds
    say = invocation.screen.line
    say((Style.BOLD, str(file)), " ", _level(verdict.holds))
    if verdict.problem:
        say((Style.BAD, "  first fault: "), verdict.problem)
    if verdict.records:
        between = (
            f"{verdict.left_out} between them are not in it" if verdict.left_out else "none between them is left out"
        )
        say(f"  {verdict.records} records, {verdict.first_seq} to {verdict.last_seq}; {between}")
    for origin, checkpoint in verdict.checkpoints.items():
        say(f"  {origin} as signed at {checkpoint.size} records, root {checkpoint.root.hex()}")
    return verdict.holds


_EXPORT = ("holds", "records", "first_seq", "last_seq", "left_out", "problem", "record")


def _level(holds: bool) -> Span:
    return (Style.GOOD, "holds") if holds else (Style.BAD, "DOES NOT HOLD")


def _keys(text: str) -> list[VerifierKey]:
    """A verifier key, or those of a file."""
    if "+" in text and not Path(text).exists():
        return [VerifierKey.parse(text)]
    try:
        return [VerifierKey.parse(line) for line in Path(text).read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as err:
        raise BadRequest(f"--key {text}: neither a verifier key nor a file with some: {err}") from None


def _told(verdict: Verdict) -> dict[str, Any]:
    signed = verdict.checkpoint
    return {
        "folder": str(verdict.folder),
        "origin": verdict.origin,
        "holds": verdict.holds,
        "records": verdict.records,
        "first_seq": verdict.first_seq,
        "dropped": verdict.dropped,
        "checkpoints": verdict.checkpoints,
        "signed": signed.size if signed else 0,
        "root": signed.root.hex() if signed else "",
        "unsigned": verdict.unsigned,
        "problem": verdict.problem,
        "record": verdict.record,
        "notes": verdict.notes,
    }


def _report(invocation: Invocation, verdict: Verdict) -> None:
    invocation.screen.line((Style.BOLD, verdict.origin or str(verdict.folder)), " ", _level(verdict.holds))
    if verdict.problem:
        invocation.screen.line((Style.BAD, "  first fault: "), verdict.problem)
    signed = verdict.checkpoint
    counted = f"  {verdict.records} records, {verdict.checkpoints} checkpoints"
    invocation.screen.line(counted + (f", signed up to {verdict.first_seq + signed.size - 1}" if signed else ""))
    if signed:
        invocation.screen.line((Style.DIM, f"  root {signed.root.hex()}"))
    for note in verdict.notes:
        invocation.screen.line("  ", note)
    if verdict.unsigned and not verdict.problem:
        invocation.screen.line(f"  the last {verdict.unsigned} are chained and not signed yet")
