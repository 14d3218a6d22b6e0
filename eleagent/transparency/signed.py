"""Which checkpoints of a log count? Those that the log's key of that size signed, where a trusted key is behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from eleagent.errors import TamperFound
from eleagent.transparency.checkpoint import Checkpoint, split_note
from eleagent.transparency.logfiles import LogFolder
from eleagent.transparency.note import VerifierKey, open_checkpoint
from eleagent.transparency.succession import Succession, follow


@dataclass
class Signed:
    """`checkpoints` count, in order; `problem` says why the one after them does not. `succession` is there once one of
    the trusted keys is seen to be among the log's. `seen` is how many checkpoints were looked at. `held` are those that
    came from elsewhere.
    """

    checkpoints: list[Checkpoint] = field(default_factory=list)
    held: list[Checkpoint] = field(default_factory=list)
    seen: int = 0
    problem: str = ""
    succession: Succession | None = None
    notes: list[str] = field(default_factory=list)


def read_signed(log: LogFolder, trusted: Sequence[VerifierKey], *, held: Sequence[str] = ()) -> Signed:
    """Blocking. Without `trusted` the first key beside the files is believed. `held` are notes of any log. Raises
    TamperFound, OSError.
    """
    origin, found = log.name()[0], Signed()
    notes = list(log.notes()) if log.checkpoints.exists() else []
    try:
        _judge(log, origin, notes, trusted, found)
    except TamperFound as err:
        found.problem = (f"checkpoint {found.seen}: " if found.seen else "") + err.message
        return found
    signers = found.succession.keys if found.succession else trusted
    try:
        found.held = [open_checkpoint(note, signers) for note in held if note.partition("\n")[0] == origin]
    except TamperFound as err:
        found.problem = f"a checkpoint that is held: {err.message}"
    size = log.checkpoints.stat().st_size if log.checkpoints.exists() else 0
    if torn := size - sum(len(note.encode()) for note in notes):
        found.notes.append(f"{torn} bytes after the last checkpoint are no whole one")
    return found


def _judge(log: LogFolder, origin: str, notes: list[str], trusted: Sequence[VerifierKey], found: Signed) -> None:
    own = log.keys()
    # one key serves all logs of an installation, under the name of each
    known = [VerifierKey(origin, key.public) for key in trusted] or own[:1]
    signers = _follow(log, own, notes, known, found)
    size = -1
    for found.seen, note in enumerate(notes, 1):
        checkpoint = Checkpoint.parse(split_note(note)[0])
        open_checkpoint(note, [signers.keys[signers.number_at(checkpoint.size)]] if signers else known)
        if checkpoint.origin != origin:
            raise TamperFound(f"it is of another log, {checkpoint.origin}")
        if checkpoint.size <= size:
            raise TamperFound(f"size {checkpoint.size} does not follow {size}")
        size = checkpoint.size
        found.checkpoints.append(checkpoint)
    if signers and (missing := [one for one in signers.last_signed if one not in found.checkpoints]):
        found.seen = 0
        raise TamperFound(f"the checkpoint at size {missing[0].size}, under which the key was rotated, is missing")


def _follow(
    log: LogFolder, own: list[VerifierKey], notes: list[str], known: list[VerifierKey], found: Signed
) -> Succession | None:
    """The log's keys, where its newest checkpoint is of one that is known or that came after it."""
    if not {key.public for key in own} & {key.public for key in known}:
        return None
    succession = follow(own[0], log.rotations())
    newest = Checkpoint.parse(split_note(notes[-1])[0]).size if notes else 0
    first = succession.first_of(known)
    if first is None or succession.number_at(newest) < first:
        return None
    found.succession = succession
    if count := len(succession.last_signed):
        times = "once" if count == 1 else f"{count} times"
        found.notes.append(f"the key was rotated {times}: {succession.newest} signs now")
    return succession
