"""What is a sandbox, whatever makes it?"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

POOL_FIRST_UID: Final = 10001
POOL_SIZE: Final = 4096
"""Sandbox users are 10001 … 14096, never two live alike: the kernel's limits a user would otherwise be shared."""

DAEMON_UID: Final = 10000
"""eleagentd's user where root starts it and no account `eleagent` exists."""

TUNNEL_PORT: Final = 328
MODEL_PORT: Final = 810
SESSION_PORT: Final = 767
"""Doors lie below ip_unprivileged_port_start (1024), so nothing inside can take one while it is free."""

UNPRIVILEGED_PORT_START: Final = 1024

HOME_DIR: Final = "/home/agent"
WORKSPACE_DIR: Final = "/workspace"
ARTEFACTS_DIR: Final = "/artefacts"
DATA_DIR: Final = "/data"

GATE_WORD: Final = b"go\n"
GATE: Final = 'read -r l && [ "$l" = go ] && exec "$@"; exit 125'
GATE_NO_STDIN: Final = 'read -r l && [ "$l" = go ] && exec "$@" </dev/null; exit 125'
"""The first process after init. `read` takes no byte more than its line, and fails on end of file: a gate never opens
by accident (a plain `read; exec` was run past when its client died).
"""

START_FILE: Final = "/etc/eleagent/start"
SPARE_ARGV: Final = ("/bin/sh", START_FILE)
"""What a spare runs behind its gate: a script that does nothing until a session takes the spare."""

LABEL: Final = "io.eleagent"

DOCKER: Final = "docker"
BUBBLEWRAP: Final = "bubblewrap"
"""The runtimes, as configuration, records and reports name them."""


class Mode(StrEnum):
    """STRICT: a missing resource control refuses the start. BEST_EFFORT: it is named. Confinement is always strict."""

    STRICT = "strict"
    BEST_EFFORT = "best-effort"


class Limits(msgspec.Struct, frozen=True):
    memory_bytes: int = 2 << 30
    cpus: float = 2.0
    pids: int = 512
    nofile: int = 4096
    tmp_bytes: int = 512 << 20
    run_bytes: int = 64 << 20
    disk_bytes: int = 4 << 30
    disk_inodes: int = 200_000


class Ceilings(msgspec.Struct, frozen=True):
    """The most that a session may ask for of its own sandbox."""

    memory_bytes: int = 16 << 30
    cpus: float = 16.0
    pids: int = 4096
    disk_bytes: int = 64 << 30


class DataMount(msgspec.Struct, frozen=True):
    """A host folder or file, already opened with its owner's rights and known to the launcher by `token`.

    `target` is /data where it is the only one, else a name in /data. `device` and `inode` are what the launcher must
    hold when it mounts.
    """

    token: str
    path: str
    target: str
    device: int
    inode: int


class Doors(msgspec.Struct, frozen=True):
    """Which listeners the sandbox's loopback gets; 0 is none."""

    tunnel: int = TUNNEL_PORT
    model: int = 0
    session: int = 0

    def ports(self) -> dict[str, int]:
        named = {"tunnel": self.tunnel, "model": self.model, "session": self.session}
        return {name: port for name, port in named.items() if port}


def sandbox_name(session: str, attempt: int) -> str:
    return f"eleagent-{session}-{attempt}"


class SandboxSpec(msgspec.Struct, frozen=True, kw_only=True):
    """One description, rendered by every runtime. It holds no secret but, in `env`, the session's own token, which is
    worth nothing outside the sandbox's network namespace.

    A spare is made ahead, up to its closed gate, under the key of a session that does not exist yet. That session takes
    it by asking for a sandbox that differs in program, environment and stdin alone.

    `image` is a content digest. `stdin` false gives the program /dev/null after the gate. `attempt` counts the starts
    of one session: a sandbox found half made is removed and made again under the next attempt. `disk_of` is the ended
    session whose HOME and files it goes on with.
    """

    session: str
    installation: str
    attempt: int
    image: str
    argv: tuple[str, ...]
    env: dict[str, str]
    uid: int
    stdin: bool
    doors: Doors
    data: tuple[DataMount, ...] = ()
    limits: Limits = Limits()
    mode: Mode = Mode.STRICT
    stop_grace_s: float = 3.0
    workdir: str = WORKSPACE_DIR
    disk_of: str = ""

    @property
    def name(self) -> str:
        """The runtime's name for it, known before it is made."""
        return sandbox_name(self.session, self.attempt)

    @property
    def labels(self) -> dict[str, str]:
        return {
            f"{LABEL}.installation": self.installation,
            f"{LABEL}.session": self.session,
            f"{LABEL}.attempt": str(self.attempt),
        }

    def spare(self) -> SandboxSpec:
        """The spare that this sandbox could be made from."""
        return msgspec.structs.replace(self, argv=SPARE_ARGV, env={}, stdin=True)

    @property
    def is_spare(self) -> bool:
        return self == self.spare()

    def gate(self) -> tuple[str, ...]:
        """The command that waits for GATE_WORD on stdin and then becomes the agent."""
        return ("/bin/sh", "-c", GATE if self.stdin else GATE_NO_STDIN, "sh", *self.argv)


class Phase(StrEnum):
    """LOST: the backend can't say whether it still runs. GONE: a complete listing does not have it."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"
    LOST = "lost"
    GONE = "gone"


class Status(msgspec.Struct, frozen=True):
    """From inspection, never from the end of a stream. `started_at` and `finished_at` are the backend's own text, `pid`
    the init's host pid. `orphaned`: it ended with the engine that ran it, or outlived that and ended then.
    """

    phase: Phase
    exit_code: int | None = None
    oom: bool = False
    pid: int = 0
    started_at: str = ""
    finished_at: str = ""
    orphaned: bool = False
    error: str = ""


class Placement(msgspec.Struct, frozen=True):
    """Where the launcher prepared a sandbox's folders on the host, for the runtime to mount: target → source.

    `data`: target → device and inode of what was mounted there, which attestation must find inside. `terminals` is a
    devpts of the sandbox's own, to be /dev/pts; empty: the runtime's. `namespaces` are the launcher's descriptors of
    the user and the mount namespace in which the sources are to be seen, and empty where that is the host's. `person`
    is whom the host sees where the launcher is not root; None: the spec's user.
    """

    writable: dict[str, str]
    readonly: dict[str, str]
    data: dict[str, tuple[int, int]] = {}
    terminals: str = ""
    namespaces: list[int] = []
    person: Person | None = None


class Person(msgspec.Struct, frozen=True):
    """A user of the host; the kernel lets nobody but root give up `groups`."""

    uid: int
    gid: int
    groups: list[int] = []
