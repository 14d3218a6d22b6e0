"""Where is what below the state folder ($ELEAGENT_HOME)?"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from eleagent.errors import ConfigError
from eleagent_daemon.store.durable import discard, open_beside, sync_folder

_NETWORK_FILESYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.sshfs", "glusterfs", "afs", "lustre"}
)
_SOCKET_PATH_BYTES = 107
"""What the kernel takes (unix(7), sun_path without its NUL)."""


@dataclass(frozen=True)
class Layout:
    home: Path

    @property
    def sessions(self) -> Path:
        """What sessions produced: <key>/files and <key>/manifest.json."""
        return self.home / "artefacts" / "sessions"

    @property
    def registry(self) -> Path:
        return self.home / "artefacts" / "state" / "session_registry.db"

    @property
    def egress(self) -> Path:
        """Made from the timelines; it may be deleted."""
        return self.home / "artefacts" / "state" / "egress.db"

    @property
    def auth(self) -> Path:
        return self.home / "artefacts" / "state" / "auth.db"

    @property
    def keyring(self) -> Path:
        return self.secrets / "identity.json"

    @property
    def timelines(self) -> Path:
        return self.home / "artefacts" / "logs"

    @property
    def conversations(self) -> Path:
        """Exports of timelines."""
        return self.home / "artefacts" / "conversations"

    @property
    def ledger(self) -> Path:
        return self.home / "ledger"

    @property
    def secrets(self) -> Path:
        """Keys of the daemon's own (0600)."""
        return self.home / "secrets"

    @property
    def agents(self) -> Path:
        """Installed binaries of agents."""
        return self.home / "agents"

    @property
    def launcher(self) -> Path:
        """The launcher's own; nobody else writes here."""
        return self.home / "launcher"

    @property
    def launcher_socket(self) -> Path:
        return self.launcher / "launcher.sock"

    @property
    def parent_lock(self) -> Path:
        """Held by the parent of both processes, from its start to its end."""
        return self.launcher / "parent.lock"

    @property
    def lock(self) -> Path:
        return self.home / "artefacts" / "state" / "daemon.lock"

    @property
    def installation_file(self) -> Path:
        return self.home / "installation"

    @property
    def runtime_file(self) -> Path:
        """Which runtime was decided for, where the setting is `auto`."""
        return self.home / "runtime"

    def prepare(self, *, uid: int, gid: int) -> str:
        """Make the folders, the daemon's owned by its account; returns the installation's id, made once.

        Raises ConfigError when the folder can't be had or `check_local` refuses it.
        """
        try:
            check_local(self.home, "home", "ELEAGENT_HOME")
            self.home.mkdir(mode=0o711, parents=True, exist_ok=True)
            self.home.chmod(0o711)
            for folder in (
                self.home / "artefacts",
                self.sessions,
                self.registry.parent,
                self.timelines,
                self.conversations,
                self.ledger,
                self.secrets,
                self.agents,
            ):
                _give(folder, uid, gid)
            self.launcher.mkdir(mode=0o711, exist_ok=True)
            _check_way(self.home, uid, gid)
            if not self.installation_file.exists():
                write_once(self.installation_file, secrets.token_hex(8) + "\n")
        except OSError as err:
            raise unusable_home(self.home, err) from None
        return self.installation()

    def installation(self) -> str:
        """The label that tells this installation's sandboxes from others. Raises ConfigError before `prepare`, and for
        an empty file: another label would let the sandboxes of the first be forgotten.
        """
        try:
            if label := self.installation_file.read_text().strip():
                return label
            raise ConfigError(
                f"home: {self.installation_file} is empty: write into it what docker ps -a --filter "
                "label=io.eleagent.installation shows, or delete it when no sandbox is left"
            )
        except OSError as err:
            raise ConfigError(
                f"home: {self.home} was not prepared ({err.strerror}): eleagent daemon run does it"
            ) from None


def check_local(folder: Path, setting: str, variable: str) -> None:
    """Raises ConfigError for a folder, made already or not, that does not keep what is written: on a network file
    system locks and durability are not what SQLite and we need, and what is in /run/user goes at logout.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists()).resolve()
    advice = f"set {setting} ({variable}) to a folder on a local disk, such as /var/tmp/eleagent-{os.getuid()}"
    if (kind := filesystem(there)) in _NETWORK_FILESYSTEMS:
        raise ConfigError(f"{setting}: {folder} is on a network file system ({kind}): {advice}")
    if any(place.is_relative_to("/run/user") for place in (folder, there)):
        raise ConfigError(f"{setting}: {folder} is gone when you log out: {advice}")


def check_socket_path(path: Path, setting: str) -> None:
    """Raises ConfigError for a socket's path that the kernel would not take; it follows from `setting`."""
    if (size := len(os.fsencode(path))) > _SOCKET_PATH_BYTES:
        raise ConfigError(
            f"{setting}: a Unix socket's path may have {_SOCKET_PATH_BYTES} bytes, and {path} has {size}: "
            f"set {setting} (ELEAGENT_{setting.upper()}) to a shorter path, such as /var/tmp/eleagent-{os.getuid()}"
            + ("/api.sock" if setting == "socket" else "")
        )


def unusable_home(home: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"home: {home} can't be used: {error.strerror} ({error.filename}): "
        "set home (ELEAGENT_HOME) to a folder that you may write to"
    )


def write_once(path: Path, text: str) -> None:
    """Whole and durable or not at all. What another made there meanwhile stays."""
    file = open_beside(path, mode=0o644)
    try:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(file.name)
        sync_folder(path.parent)
    finally:
        discard(file)


def _give(folder: Path, uid: int, gid: int) -> None:
    """Make the folder the daemon's. It may have been before: what stands there may be a link by now."""
    folder.mkdir(mode=0o700, exist_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, uid, gid)
    finally:
        os.close(fd)


def _check_way(path: Path, uid: int, gid: int) -> None:
    """Raises ConfigError, naming the folder, when `uid` can't get to `path`."""
    for folder in (path, *path.parents):
        status = folder.stat()
        bit = 0o100 if status.st_uid == uid else 0o010 if status.st_gid == gid else 0o001
        if uid != 0 and not status.st_mode & bit:
            raise ConfigError(
                f"home: eleagentd (uid {uid}) can't enter {folder}: set home to a folder that it can get to, "
                f"or let others pass with chmod o+x {folder}"
            )


def filesystem(path: Path) -> str:
    """The type of the file system that holds `path` (/proc/self/mountinfo, proc(5)); empty where it can't be told."""
    device = path.stat().st_dev
    for line in Path("/proc/self/mountinfo").read_bytes().decode(errors="surrogateescape").rstrip("\n").split("\n"):
        fields = line.split()
        major, _, minor = fields[2].partition(":")
        if os.makedev(int(major), int(minor)) == device:
            return fields[fields.index("-") + 1]
    return ""
