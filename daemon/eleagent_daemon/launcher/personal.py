"""Where does a launcher that is not root keep what belongs to a session? In folders of the person it runs as.

What such a launcher mounts is seen in a mount namespace alone, which it makes for each session's data and holds by
descriptors until the runtime has entered it; with them it is gone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from eleagent.errors import IsolationFailed
from eleagent_daemon.domain.sandbox import DATA_DIR, DataMount, Person, Placement, SandboxSpec
from eleagent_daemon.kernel.calls import RESOLVE_NO_SYMLINKS, open_inside, unshare_mounts
from eleagent_daemon.kernel.child import Children, in_child
from eleagent_daemon.launcher.identity import write_identity
from eleagent_daemon.launcher.mounts import mount_source
from eleagent_daemon.launcher.places import ON_DISK, Places
from eleagent_daemon.launcher.removal import remove_tree
from eleagent_daemon.launcher.sources import Held
from eleagent_daemon.launcher.startfile import lay_start

_REMOVAL_S: Final = 600.0


@dataclass(frozen=True)
class PersonalPlaces(Places):
    """`_spaces` are the namespaces' descriptors by session, `_shown` is what stands at its data's targets in there."""

    _spaces: dict[str, list[int]] = field(default_factory=dict)
    _shown: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)

    def close(self) -> None:
        for session in list(self._spaces):
            self._leave(session)

    async def lay_out(self, spec: SandboxSpec, sources: Mapping[str, Held]) -> Placement:
        """Everything there is to prepare: `fill` has only to tell of it. Raises BadRequest, IsolationFailed."""
        disk, targets = self._disk(spec.session), self._data(spec)
        for name in ON_DISK.values():
            (disk / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        if spec.data:
            self._mnt(spec.session).mkdir(mode=0o700, parents=True, exist_ok=True)
            held = {mount.target: sources[mount.token] for mount in spec.data}

            def job() -> tuple[dict[str, tuple[int, int]], list[int]]:
                unshare_mounts()
                shown = {
                    mount.target: self._show(mount, held[mount.target], targets[mount.target]) for mount in spec.data
                }
                return shown, [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("user", "mnt")]

            self._leave(spec.session)
            keep = [each.fd for each in held.values()]
            self._shown[spec.session], self._spaces[spec.session] = await in_child(
                job, dict[str, tuple[int, int]], keep=keep
            )
        files = write_identity(self._etc(spec.session), spec.uid)
        if spec.is_spare:
            files |= lay_start(self._etc(spec.session), None)
        data = {target: str(path) for target, path in targets.items()}
        return Placement(
            writable={target: str(disk / name) for target, name in ON_DISK.items()},
            readonly=files | (data or {DATA_DIR: str(self.covers.folder)}),
            namespaces=self._spaces.get(spec.session, []),
            person=Person(os.getuid(), os.getgid(), os.getgroups()),
        )

    async def fill(self, spec: SandboxSpec, sources: Mapping[str, Held]) -> dict[str, tuple[int, int]]:
        return self._shown.get(spec.session, {})

    def artefacts(self, spec: SandboxSpec) -> Path:
        return self._disk(spec.session) / "artefacts"

    async def unmount(self, session: str, children: Children) -> None:
        """Nothing is mounted where others see it."""
        self._leave(session)
        if self._mnt(session).exists():
            await children.run(partial(_remove, self._mnt(session)), type(None))

    async def clear(self, session: str, *, forget: bool) -> None:
        if forget:
            await in_child(partial(_remove, self._disk(session)), type(None), timeout_s=_REMOVAL_S)
            self.manifest(session).unlink(missing_ok=True)
        await super().clear(session, forget=False)

    def _show(self, mount: DataMount, held: Held, target: Path) -> tuple[int, int]:
        """What was opened belongs to the mount namespace that it was opened in, so it is opened again in this one, by
        its name, and must be the same."""
        opened = Path(f"/proc/self/fd/{held.fd}")
        flags = os.O_RDONLY | os.O_DIRECTORY if opened.is_dir() else os.O_PATH
        fd = open_inside(-1, os.fsencode(opened.readlink()), flags, resolve=RESOLVE_NO_SYMLINKS)
        try:
            if not os.path.sameopenfile(fd, held.fd):
                raise IsolationFailed(f"{mount.path} was moved away after it had been opened: start the session again")
            return mount_source(fd, target, held.masked, self.covers)
        finally:
            os.close(fd)

    def _leave(self, session: str) -> None:
        self._shown.pop(session, None)
        for fd in self._spaces.pop(session, []):
            with contextlib.suppress(OSError):
                os.close(fd)

    def _kept(self, session: str) -> Path:
        return self._disk(session)

    def _disk(self, session: str) -> Path:
        return self.root / "disks" / session


def _remove(folder: Path) -> tuple[None, list[int]]:
    """Whatever the sandbox left in it, and whichever rights it took from itself."""
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(parent, folder.name)
    finally:
        os.close(parent)
    return None, []
