"""Where does the launcher keep what belongs to a session, and how is it put together and taken apart?"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from eleagent.errors import NotFound
from eleagent_daemon.domain.sandbox import ARTEFACTS_DIR, DATA_DIR, HOME_DIR, WORKSPACE_DIR, Placement, SandboxSpec
from eleagent_daemon.kernel.child import Children, in_child
from eleagent_daemon.launcher.disk import mount_disk
from eleagent_daemon.launcher.identity import write_identity
from eleagent_daemon.launcher.mounts import Covers, make_place, make_private, mount_source, mount_terminals, unmount_all
from eleagent_daemon.launcher.sources import Held
from eleagent_daemon.launcher.startfile import lay_start, write_start

ON_DISK = {HOME_DIR: "home", WORKSPACE_DIR: "workspace", ARTEFACTS_DIR: "artefacts"}


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
        for image in (self.root / "disks").glob("*.img"):
            image.chmod(0o600)
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

    def manifest(self, session: str) -> Path:
        """What is known of the files on the session's disk; it lasts as long as that."""
        return self.root / "disks" / f"{session}.manifest"

    def sessions(self) -> list[str]:
        """Sessions with a folder, in the order they were made."""
        folders = [path for path in self.root.iterdir() if path.name.startswith("s-") and path.is_dir()]
        return [path.name for path in sorted(folders, key=lambda path: path.stat().st_ctime_ns)]

    async def lay_out(self, spec: SandboxSpec, sources: Mapping[str, Held]) -> Placement:
        """Identity, and empty places for disk and data (`sources` by token), which an engine wants to see early."""
        disk, data = self._mnt(spec.session) / "disk", self._data(spec)
        for place in (*(disk / name for name in ON_DISK.values()), self._terminals(spec)):
            place.mkdir(mode=0o711, parents=True, exist_ok=True)
        for mount in spec.data:
            make_place(sources[mount.token].fd, data[mount.target])
        files = write_identity(self._etc(spec.session), spec.uid)
        if spec.is_spare:
            files |= lay_start(self._etc(spec.session), spec.uid)
        return Placement(
            writable={target: str(disk / name) for target, name in ON_DISK.items()},
            readonly=files
            | ({target: str(path) for target, path in data.items()} or {DATA_DIR: str(self.covers.folder)}),
            terminals=str(self._terminals(spec)),
        )

    def assign(self, spec: SandboxSpec) -> None:
        """Let the spare of the session become `spec` when its gate opens."""
        write_start(self._etc(spec.session), spec)

    async def fill(self, spec: SandboxSpec, sources: Mapping[str, Held]) -> dict[str, tuple[int, int]]:
        """Mount disk, terminals and data at the places that `lay_out` made; the data as `Placement.data` tells it.

        Raises BadRequest, Unavailable, IsolationFailed.
        """

        def job() -> tuple[dict[str, tuple[int, int]], list[int]]:
            self._mount_disk(spec)
            mount_terminals(self._terminals(spec))
            placed = {}
            for mount in spec.data:
                held, target = sources[mount.token], self._data(spec)[mount.target]
                placed[mount.target] = mount_source(held.fd, target, held.masked, self.covers)
            return placed, []

        placed, _ = await in_child(job, dict[str, tuple[int, int]], keep=[held.fd for held in sources.values()])
        return placed

    def artefacts(self, spec: SandboxSpec) -> Path:
        """Where the sandbox left artefacts, mounted where it is not (the host was restarted). Blocking, for a child."""
        return self._mount_disk(spec) / "artefacts"

    async def unmount(self, session: str, children: Children) -> None:
        """Idempotent. Raises Unavailable."""
        if self._mnt(session).exists():
            await children.run(partial(_take_apart, self._mnt(session)), type(None))

    def inherit(self, spec: SandboxSpec) -> None:
        """The session gets the disk that an ended one left, and what is known of its files. Idempotent.

        Raises NotFound.
        """
        with contextlib.suppress(FileNotFoundError):
            self.manifest(spec.disk_of).rename(self.manifest(spec.session))
        own, left = self._kept(spec.session), self._kept(spec.disk_of)
        if not own.exists():
            try:
                left.rename(own)
            except FileNotFoundError:
                raise NotFound(f"the HOME and files of {spec.disk_of} are gone: it can't be resumed") from None

    async def clear(self, session: str, *, forget: bool) -> None:
        """Delete what is a session's and no mount, its disk only to `forget` it. Idempotent."""
        for half_made in (".new", ".changes"):
            self._image(session).with_suffix(half_made).unlink(missing_ok=True)
        if forget:
            self._image(session).unlink(missing_ok=True)
            self.manifest(session).unlink(missing_ok=True)
        shutil.rmtree(self.folder(session), ignore_errors=True)

    def _mount_disk(self, spec: SandboxSpec) -> Path:
        disk = self._mnt(spec.session) / "disk"
        mount_disk(self._image(spec.session), disk, spec.limits, spec.uid)
        return disk

    def _terminals(self, spec: SandboxSpec) -> Path:
        return self._mnt(spec.session) / "pts"

    def _data(self, spec: SandboxSpec) -> dict[str, Path]:
        folder = self._mnt(spec.session) / "data"
        return {mount.target: folder / str(number) for number, mount in enumerate(spec.data)}

    def _etc(self, session: str) -> Path:
        return self.folder(session) / "etc"

    def _mnt(self, session: str) -> Path:
        return self.root / "mnt" / session

    def _kept(self, session: str) -> Path:
        """What outlives a sandbox."""
        return self._image(session)

    def _image(self, session: str) -> Path:
        return self.root / "disks" / f"{session}.img"


def _take_apart(mnt: Path) -> tuple[None, list[int]]:
    unmount_all(mnt)
    # Only empty places are left; rmtree would delete what is mounted, should ever something be.
    for place in sorted((mnt, *mnt.rglob("*")), reverse=True):
        if place.is_dir():
            place.rmdir()
        else:
            place.unlink(missing_ok=True)
    return None, []
