"""How does a log begin: as the first, or after one that can't go on?"""

from __future__ import annotations

import contextlib
from hashlib import sha256
from pathlib import Path
from typing import Final

from eleagent.transparency.logfiles import LogFolder, TreeFiles, log_folders
from eleagent.transparency.verify import RESTARTED, verify
from eleagent_daemon.store.ledger.entry import entry, trimmed
from eleagent_daemon.store.ledger.keys import Keys
from eleagent_daemon.store.ledger.log import Log

_EARLIER: Final = "audit.jsonl"
"""What the first builds wrote: kept as it is, and named with its hash."""


def begin_first(ledger: Path, installation: str, keys: Keys) -> Log:
    """Blocking. The first log of an installation. Raises OSError."""
    ledger.mkdir(mode=0o700, parents=True, exist_ok=True)
    origin = _origin(installation, 1)
    details = {"origin": origin, "key": str(keys.signer.verifier(origin))}
    if (earlier := ledger / _EARLIER).exists():
        with earlier.open("rb") as file:
            digest = sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        details |= {"earlier": _EARLIER, "earlier_sha256": digest.hexdigest()}
    first = entry(phase="event", action="audit.begun", actor="eleagentd", details=details)
    return Log.create(ledger / "log-0001", origin=origin, first_seq=1, keys=keys, first=first)


def begin_next(ledger: Path, installation: str, keys: Keys, *, actor: str, reason: str) -> Log:
    """Blocking: it verifies the last log. A log after it, whose first record names it, how far it was signed, and what
    is wrong with it. Seqs go on. Raises OSError.
    """
    before = verify(ledger)[-1]
    signed = before.checkpoint
    number = int(log_folders(ledger)[-1].name.partition("-")[2]) + 1
    origin = _origin(installation, number)
    details = {
        "origin": before.origin,
        "size": str(signed.size) if signed else "0",
        "root": signed.root.hex() if signed else "",
        "records": str(before.records),
        "damage": trimmed(before.problem),
        "reason": trimmed(reason),
        "key": str(keys.signer.verifier(origin)),
    }
    said = {name: value for name, value in details.items() if value}
    first = entry(phase="event", action=RESTARTED, actor=actor, decision="allowed", details=said)
    last = before.first_seq + max(before.records, _highest(before.folder, before.first_seq)) - 1
    path = ledger / f"log-{number:04d}"
    return Log.create(path, origin=origin, first_seq=last + 1, keys=keys, first=first)


def _origin(installation: str, number: int) -> str:
    return f"eleagent/{installation}/{number}"


def _highest(folder: Path, first_seq: int) -> int:
    """How many records the log may have had, by whatever says so."""
    log = LogFolder(folder)
    with TreeFiles(log.tree) as tree:
        found = tree.leaves
    with contextlib.suppress(OSError):
        for seq, path in log.segments():
            with path.open("rb") as file:
                found = max(found, seq - first_seq + sum(1 for _ in file))
    return found
