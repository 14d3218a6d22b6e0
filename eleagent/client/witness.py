"""Is the audit log that a daemon shows now the one that it showed this client before?

Every answer names the newest checkpoint. What was seen last is kept per daemon; when another comes, the daemon has to
prove that the log only grew. Two clients that were shown different logs find that out each for itself, or together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from eleagent.client.locate import state_folder
from eleagent.errors import AuditUnavailable, EleAgentError, NotFound, TamperFound

if TYPE_CHECKING:
    from eleagent.wire.audit import LogHead


class Seen(msgspec.Struct, frozen=True):
    """The last checkpoint of a daemon's log that this client saw. `note` is the signed one, where it was asked for."""

    daemon: str
    origin: str
    size: int
    root: str
    note: str = ""
    keys: list[str] = []


class Forked(TamperFound):
    """`seen` is what was remembered, `shown` what the daemon shows."""

    code = "audit_forked"


class OtherLog(TamperFound):
    """The daemon has another log than the one that was seen; whether that is right is a person's to say."""

    code = "audit_log_replaced"


class Witness:
    """The memory of one daemon's log, in a small file (0600) of the caller's own."""

    def __init__(self, daemon: str, folder: str) -> None:
        self._daemon = daemon
        # no hash of it: that would cost every command more than all else here
        name = "".join(one if one.isalnum() or one in "-." else f"_{ord(one):x}" for one in daemon)
        self._folder, self._path = folder, f"{folder}/{name[-200:]}.json"

    def recall(self) -> Seen | None:
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123  # every command comes by here
                return msgspec.json.decode(file.read(), type=Seen)
        except (OSError, msgspec.DecodeError):
            return None

    def remember(self, seen: Seen) -> None:
        """Raises OSError."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        new = f"{self._path}.{os.getpid()}"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, msgspec.json.encode(seen))
        finally:
            os.close(fd)
        os.replace(new, self._path)  # noqa: PTH105

    def check(self, header: str | None, ask: Callable[[int], LogHead], *, thorough: bool = False) -> None:
        """Hold what the daemon shows against what was seen, and remember it. `ask` gets its head with the proof from a
        size on; it is called when the log has grown. `thorough` also checks the signature of what is new.

        Raises Forked, OtherLog, and what `ask` raises.
        """
        size = self.question(header, thorough=thorough)
        if size is not None:
            self.take(ask(size), thorough=thorough)

    def question(self, header: str | None, *, thorough: bool) -> int | None:
        """From which size on the daemon has to prove that its log only grew (then `take` its head); None where there is
        nothing to ask. Raises Forked, OtherLog.
        """
        seen, shown = self.recall(), _parse(header)
        if shown is None:
            if seen is not None:
                raise Forked(f"{self._daemon} shows no audit log; it had {seen.size} records when it was last seen")
            return None
        origin, size, root = shown
        if seen is None:
            if thorough:
                return 0
            self.remember(Seen(self._daemon, origin, size, root))
            return None
        if origin != seen.origin:
            raise OtherLog(
                f"{self._daemon} has another audit log ({origin}) than the one that was seen ({seen.origin})"
            )
        if size == seen.size and root != seen.root:
            raise self._forked(seen, size)
        # a smaller one may be an older answer, which came while another client saw a newer one
        return seen.size if size != seen.size or (thorough and not seen.note) else None

    def take(self, head: LogHead, *, thorough: bool) -> None:
        """Remember a head that was asked for. Raises Forked, OtherLog."""
        seen = self.recall()
        self.remember(self._met(head) if seen is None else self.follow(seen, head, thorough=thorough))

    def follow(self, seen: Seen, head: LogHead, *, thorough: bool) -> Seen:
        """What is to be remembered of a log that only grew. Raises Forked, OtherLog."""
        import base64
        import binascii

        from eleagent.transparency.checkpoint import Checkpoint, split_note
        from eleagent.transparency.merkle import check_consistency

        shown = Checkpoint.parse(split_note(head.note)[0])
        if shown.origin != seen.origin:
            raise OtherLog(f"{self._daemon} has another audit log ({shown.origin}) than was seen ({seen.origin})")
        try:
            proof = [base64.b64decode(one, validate=True) for one in head.consistency]
            check_consistency(seen.size, base64.b64decode(seen.root), shown.size, shown.root, proof)
            keys = _signers(seen.keys, head) if thorough else seen.keys or head.keys
        except (TamperFound, binascii.Error) as err:
            raise self._forked(seen, shown.size) from err
        root = base64.b64encode(shown.root).decode()
        return Seen(self._daemon, shown.origin, shown.size, root, head.note, keys)

    def trust(self, head: LogHead) -> Seen:
        """Take the log as it is shown for the right one. Raises TamperFound unless it is signed."""
        seen = self._met(head)
        self.remember(seen)
        return seen

    def _met(self, head: LogHead) -> Seen:
        import base64

        from eleagent.transparency.checkpoint import Checkpoint, split_note

        keys = _signers([], head)
        shown = Checkpoint.parse(split_note(head.note)[0])
        return Seen(self._daemon, shown.origin, shown.size, base64.b64encode(shown.root).decode(), head.note, keys)

    def _forked(self, seen: Seen, size: int) -> Forked:
        kept = f"--checkpoint {self._path}" if seen.note else "--key KEY"
        return Forked(
            f"the audit log of {self._daemon} was changed: it does not begin with the {seen.size} records that were "
            f"seen before (it shows {size}); what was seen is in {self._path}: keep it, and look with "
            f"'eleagent audit verify {kept}'",
            seen=str(seen.size),
            shown=str(size),
        )


def _signers(known: list[str], head: LogHead) -> list[str]:
    """The log's keys, where the newest of those that are known, or one that came after it, signed the checkpoint.
    Raises TamperFound.
    """
    from eleagent.transparency.checkpoint import Checkpoint, split_note
    from eleagent.transparency.note import VerifierKey, open_checkpoint
    from eleagent.transparency.succession import follow

    keys = [VerifierKey.parse(key) for key in head.keys]
    if not keys:
        raise TamperFound("the log has no key")
    succession = follow(keys[0], head.rotations)
    size = Checkpoint.parse(split_note(head.note)[0]).size
    signer = succession.signer_at(size, [VerifierKey.parse(key) for key in known[-1:]] or keys)
    if succession.keys != keys or signer is None:
        raise TamperFound("the log is signed by a key that the one that was seen did not name")
    open_checkpoint(head.note, [signer])
    return head.keys


def witness_folder(environ: Mapping[str, str] = os.environ) -> str:
    """Not in the state folder of a private daemon: who puts back an older copy of that takes not this one with it."""
    return f"{state_folder(environ)}/eleagent-witness"


def unproved(why: EleAgentError) -> Forked:
    return Forked(f"the audit log was changed: the daemon can't prove that it only grew: {why.message}")


def asked(call: Callable[..., Any]) -> Callable[[int], LogHead]:
    """`ask` of `Witness.check` by a client's `call`."""

    def ask(size: int) -> LogHead:
        from eleagent.operations.audit import AUDIT_HEAD

        try:
            head: LogHead = call(AUDIT_HEAD, query={"from_size": size})
        except (NotFound, AuditUnavailable) as err:
            raise unproved(err) from err
        return head

    return ask


def succession(seen: Seen, head: LogHead) -> str:
    """In words: how the log that is shown says that it follows the one that was seen."""
    begins = head.begins
    said = begins.details
    origin = head.note.partition("\n")[0]
    if said.get("origin") != seen.origin or begins.action != "audit.restarted":
        return f"{origin} does not name {seen.origin}, which was seen up to {seen.size} records"
    damage = f"; what was wrong with it: {said['damage']}" if said.get("damage") else ""
    return (
        f"{begins.actor} began {origin} at {begins.ts} since {said.get('reason')!r}; it follows {seen.origin} at "
        f"{said.get('size', '0')} records, which was seen up to {seen.size}{damage}"
    )


def _parse(header: str | None) -> tuple[str, int, str] | None:
    """Raises EleAgentError for what can't be one."""
    if not header:
        return None
    origin, _, rest = header.partition(" ")
    size, _, root = rest.partition(" ")
    if not origin or not size.isdigit() or len(root) != 44:
        raise EleAgentError(f"what the daemon says of its audit log can't be read: {header[:100]!r}")
    return origin, int(size), root
