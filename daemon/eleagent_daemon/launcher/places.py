"""Where does the launcher keep what belongs to a session, and how is it put together and taken apart?"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from eleagent_daemon.domain.sandbox import ARTEFACTS_DIR, DATA_DIR, HOME_DIR, WORKSPACE_DIR, Placement, SandboxSpec
from eleagent_daemon.launcher.child import in_child
from eleagent_daemon.launcher.disk import mount_disk
from eleagent_daemon.launcher.identity import write_identity
from eleagent_daemon.launcher.mounts import Covers, bind_source, make_private, unmount_all
from eleagent_daemon.launcher.sources import Held

_ON_DISK = {HOME_DIR: "home", WORKSPACE_DIR: "workspace", ARTEFACTS_DIR: "artefacts"}


@dataclass(frozen=True)
class Places:
    """Everything lies below `root`. Disks and mounts are root's alone: a folder that is bound here has left the parents
    that guarded it. The rest may be passed through and not listed, so that eleagentd gets to its spools.
    """

    root: Path

    @property
    def covers(self) -> Covers:
        return Covers(file=self.root / "covers" / "file", folder=self.root / "covers" / "folder")

    def prepare(self) -> None:
        """Make the folders; `mnt` and `covers` become mounts of their own where the launcher may mount."""
        for folder, mode in ((self.root, 0o711), (self.root / "disks", 0o700), (self.root / "mnt", 0o700)):
            folder.mkdir(mode=mode, parents=True, exist_ok=True)
            folder.chmod(mode)
        if not self.covers.file.exists():
            self.covers.folder.mkdir(mode=0o555, parents=True, exist_ok=True)
            self.covers.file.touch(mode=0o444)
        if os.geteuid() == 0:
            make_private(self.root / "mnt")
            make_private(self.root / "covers", read_only=True)

    def close(self) -> None:
        """Give up the launcher's own mounts, where no session needs them."""
        if os.geteuid() == 0 and not any((self.root / "mnt").iterdir()):
            unmount_all(self.root / "mnt")
            unmount_all(self.root / "covers")

    def folder(self, session: str) -> Path:
        return self.root / session

    def spool(self, session: str) -> Path:
        return self.folder(session) / "spool"

    def sessions(self) -> list[str]:
        """Sessions with a folder, in the order they were made."""
        folders = [path for path in self.root.iterdir() if path.name.startswith("s-") and path.is_dir()]
        return [path.name for path in sorted(folders, key=lambda path: path.stat().st_ctime_ns)]

    async def place(self, spec: SandboxSpec, sources: Mapping[str, Held]) -> Placement:
        """Disk, data and identity of a sandbox; `sources` by token. Raises Unavailable, IsolationFailed."""
        mnt = self._mnt(spec.session)
        data = {mount.target: mnt / "data" / str(number) for number, mount in enumerate(spec.data)}

        def job() -> tuple[None, list[int]]:
            (mnt / "data").mkdir(mode=0o711, parents=True, exist_ok=True)
            mount_disk(self._image(spec.session), mnt / "disk", spec.limits, spec.uid)
            for mount in spec.data:
                held = sources[mount.token]
                bind_source(held.fd, data[mount.target], held.masked, self.covers)
            return None, []

        await in_child(job, type(None), keep=[held.fd for held in sources.values()])
        identity = write_identity(self.folder(spec.session) / "etc", spec.uid)
        return Placement(
            writable={target: str(mnt / "disk" / name) for target, name in _ON_DISK.items()},
            readonly=identity
            | ({target: str(path) for target, path in data.items()} or {DATA_DIR: str(self.covers.folder)}),
        )

    async def artefacts(self, spec: SandboxSpec) -> Path:
        """The folder that the sandbox wrote artefacts into, mounted where it is not (the host was restarted)."""
        mnt = self._mnt(spec.session)

        def job() -> tuple[None, list[int]]:
            mnt.mkdir(mode=0o711, parents=True, exist_ok=True)
            mount_disk(self._image(spec.session), mnt / "disk", spec.limits, spec.uid)
            return None, []

        await in_child(job, type(None))
        return mnt / "disk" / "artefacts"

    async def clear(self, session: str, *, forget: bool) -> None:
        """Unmount and delete what is a session's, its disk only to `forget` it. Idempotent. Raises Unavailable."""

        def job() -> tuple[None, list[int]]:
            mnt = self._mnt(session)
            unmount_all(mnt)
            # Only empty places are left; rmtree would delete what is mounted, should ever something be.
            for place in sorted((mnt, *mnt.rglob("*")), reverse=True):
                if place.is_dir():
                    place.rmdir()
                else:
                    place.unlink(missing_ok=True)
            if forget:
                self._image(session).unlink(missing_ok=True)
            shutil.rmtree(self.folder(session), ignore_errors=True)
            return None, []

        await in_child(job, type(None))

    def _mnt(self, session: str) -> Path:
        return self.root / "mnt" / session

    def _image(self, session: str) -> Path:
        return self.root / "disks" / f"{session}.img"
