"""What may eleagentd ask of eleagent-launcher?

The launcher's whole interface: one struct a verb, sent as one SOCK_SEQPACKET message of JSON (a tagged union), answered
by `Reply` with the same `id`. File descriptors travel beside a message. Besides replies the launcher sends `Notice`s.
"""

from __future__ import annotations

import msgspec

from eleagent.errors import BY_CODE, EleAgentError
from eleagent.wire.attestation import Report
from eleagent_daemon.domain.limits import Resources
from eleagent_daemon.domain.sandbox import SandboxSpec, Status

PROTOCOL = 1
MESSAGE_LIMIT_BYTES = 160 * 1024
"""Larger than any message but input, which is cut into CHUNK_BYTES; below the kernel's default socket buffer."""
CHUNK_BYTES = 64 * 1024


class Verb(msgspec.Struct, frozen=True, tag_field="verb", kw_only=True):
    id: int = 0


class Hello(Verb, frozen=True, tag="hello"):
    """Who is there: answered by `Greeting`. Refused when `protocol` differs."""

    protocol: int
    version: str


class OpenSource(Verb, frozen=True, tag="open_source"):
    """Open a host path with the caller's uid and groups (a child takes them on), following no symlink out of what was
    named; refuse what contains or lies in `forbidden`. Answered by `Source`; the launcher keeps the descriptor.

    Who the caller is, is eleagentd's word: it holds the API's socket and alone sees the peer's credentials.
    """

    path: str
    uid: int
    gid: int
    groups: list[int]
    reader_uid: int
    forbidden: list[str]


class Create(Verb, frozen=True, tag="create"):
    """Make the sandbox up to its closed gate, with its pipes attached to the spool. Idempotent by `spec.name`.
    Answered by `Made`."""

    spec: SandboxSpec


class Attest(Verb, frozen=True, tag="attest"):
    """Ask kernel and engine what was applied. Answered by `Report`."""

    session: str


class OpenDoors(Verb, frozen=True, tag="open_doors"):
    """Answered by `DoorSet` with one listening socket a name, in its order. Descriptors sent along are listeners that
    the daemon still holds (the launcher was restarted): they are taken back after checking whose they are.
    """

    session: str
    held: list[str] = []


class Release(Verb, frozen=True, tag="release"):
    """Open the gate. Refused unless the last attestation of this very sandbox was complete. To be asked again after a
    launcher died over it: the gate is opened once.
    """

    session: str


class Write(Verb, frozen=True, tag="write"):
    """A piece of one input message; `last` commits it, and the launcher then writes the whole of it, whatever dies
    above.
    """

    session: str
    message: str
    data: bytes
    last: bool


class Signal(Verb, frozen=True, tag="signal"):
    """A signal to the init of the sandbox, which forwards it."""

    session: str
    signum: int


class Stop(Verb, frozen=True, tag="stop"):
    """SIGTERM to every process of the sandbox, SIGKILL after `grace_s`. Answered at once; the end comes as a notice."""

    session: str
    grace_s: float


class Pause(Verb, frozen=True, tag="pause"):
    """Stop the clock of every process in the sandbox. Idempotent. Refused before the release and after the end."""

    session: str


class Unpause(Verb, frozen=True, tag="unpause"):
    """Let it go on, and attest it anew: a difference ends it, as at any time. Idempotent."""

    session: str


class Look(Verb, frozen=True, tag="look"):
    """Find out which files of the writable places are other than at the last look. Answered at once; what changed
    comes through the spool. When the sandbox has ended it is done unasked, before the end is told.
    """

    session: str


class Inspect(Verb, frozen=True, tag="inspect"):
    """Answered by `Status`."""

    session: str


class ListAll(Verb, frozen=True, tag="list"):
    """Every sandbox of the installation, alive or not. Answered by `Listing`."""


class Collect(Verb, frozen=True, tag="collect"):
    """Copy the regular files of /artefacts into the directory whose descriptor comes along, hashing them. Refused
    unless it is the daemon's own. Answered by `Collected`. A name that is no UTF-8 travels with its bytes written out.
    """

    session: str
    limit_bytes: int
    limit_files: int


class Remove(Verb, frozen=True, tag="remove"):
    """Remove container, doors, mounts and spool; the disk with HOME is kept for resume unless `forget`. Idempotent, and
    to be asked again when it failed half-way.
    """

    session: str
    forget: bool = False


class Consumed(Verb, frozen=True, tag="consumed"):
    """The daemon has made durable all output below `offset`: the spool may drop it. Not answered."""

    session: str
    offset: int


class Images(Verb, frozen=True, tag="images"):
    """Answered by `ImageSet`: the images that `reference` names, or all of EleAgent's when it is empty."""

    reference: str = ""


class Build(Verb, frozen=True, tag="build"):
    """Build the image of an agent from what this release brings for it. Where it has a binary, its descriptor comes
    along, and it is refused unless its digest is the lock's. Progress comes as notices with `session` set to the
    image's reference; answered by `ImageSet` at the end.
    """

    agent: str


class Host(Verb, frozen=True, tag="host"):
    """What this host can enforce. Answered by `HostFacts`."""


class Heartbeat(Verb, frozen=True, tag="heartbeat"):
    """Whether the daemon can record what sandboxes do. Where it can't for `grace_s`, or is connected and says nothing,
    the launcher pauses them; with `pause_on_loss` also where it is gone. Not answered.
    """

    recording: bool
    grace_s: float
    pause_on_loss: bool


AnyVerb = (
    Hello | OpenSource | Create | Attest | OpenDoors | Release | Write | Signal | Stop | Pause | Unpause | Look
    | Inspect | ListAll | Collect | Remove | Consumed | Images | Build | Host | Heartbeat
)  # fmt: skip


class Greeting(msgspec.Struct, frozen=True, tag="greeting"):
    """`privileged`: the launcher is root. `runtime` and `engine` are lines for people; `error` is why there is no
    engine.
    """

    protocol: int
    version: str
    pid: int
    privileged: bool
    runtime: str
    engine: str
    error: str = ""
    boot_id: str = ""


class Source(msgspec.Struct, frozen=True, tag="source"):
    """`unreadable` are the first 100 paths below the source that `reader_uid` can't read, `unreadable_count` all of
    them; `masked` are sockets, FIFOs and devices that will be covered.
    """

    token: str
    is_dir: bool
    device: int
    inode: int
    unreadable: list[str]
    unreadable_count: int
    masked: list[str]


class Made(msgspec.Struct, frozen=True, tag="made"):
    """`spool` is the folder that holds the session's output, readable by eleagentd."""

    sandbox_id: str
    spool: str


class Attested(msgspec.Struct, frozen=True, tag="attested"):
    report: Report


class DoorSet(msgspec.Struct, frozen=True, tag="doors"):
    """The descriptors beside this message are listening sockets, one a name in this order."""

    names: list[str]


class Inspected(msgspec.Struct, frozen=True, tag="inspected"):
    """`written` are the input messages that went into the pipe whole; `spooled` is how far the output reaches.

    `cpu_s` is what its present processes have used, None where that was not asked; `resources` what it uses of its own.

    `draining`: it has exited, and counts as running until its output is spooled: nothing is there to attest.
    """

    status: Status
    spooled: int
    written: list[str]
    draining: bool = False
    cpu_s: float | None = None
    resources: Resources = Resources()


class Entry(msgspec.Struct, frozen=True):
    """`made` is when, in seconds since 1970; 0 where there is a record alone."""

    session: str
    attempt: int
    phase: str
    made: float = 0.0


class Listing(msgspec.Struct, frozen=True, tag="listing"):
    """`complete`: the engine was asked and answered in full. What exists is judged on such a listing alone."""

    entries: list[Entry]
    complete: bool


class StoredFile(msgspec.Struct, frozen=True):
    path: str
    size_bytes: int
    sha256: str
    mode: int


class Collected(msgspec.Struct, frozen=True, tag="collected"):
    """`manifest` was written as JSON (a list of StoredFile) into the folder beside `files/`; here are its totals."""

    count: int
    bytes: int
    skipped: list[str]


class ImageFacts(msgspec.Struct, frozen=True):
    reference: str
    image_id: str
    size_bytes: int
    created: str
    labels: dict[str, str]


class ImageSet(msgspec.Struct, frozen=True, tag="images"):
    images: list[ImageFacts]


class HostFact(msgspec.Struct, frozen=True):
    name: str
    level: str
    found: str
    fix: str = ""


class HostFacts(msgspec.Struct, frozen=True, tag="host"):
    facts: list[HostFact]


class Done(msgspec.Struct, frozen=True, tag="done"):
    pass


class Failed(msgspec.Struct, frozen=True, tag="failed"):
    """An EleAgentError, by code (eleagent.errors), to be raised on the other side."""

    code: str
    message: str
    fields: dict[str, str] = {}

    @classmethod
    def of(cls, error: EleAgentError) -> Failed:
        return cls(error.code, error.message, {name: str(value) for name, value in error.fields.items()})

    def error(self) -> EleAgentError:
        return BY_CODE.get(self.code, EleAgentError)(self.message, **self.fields)


AnyAnswer = (
    Greeting | Source | Made | Attested | DoorSet | Inspected | Listing | Collected | ImageSet | HostFacts | Done
    | Failed
)  # fmt: skip


class Reply(msgspec.Struct, frozen=True, tag="reply", tag_field="kind"):
    id: int
    answer: AnyAnswer


class Notice(msgspec.Struct, frozen=True, tag="notice", tag_field="kind"):
    """A hint: output reaches `spooled`; `ended` the sandbox is not running any more; `violation` what differs from the
    attestation; `text` a line of a build. A lost notice must not matter: inspection is the truth."""

    session: str
    spooled: int = 0
    ended: bool = False
    violation: list[str] = []
    text: str = ""


AnyMessage = Reply | Notice
