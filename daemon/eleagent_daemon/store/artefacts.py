"""What did a session leave behind? Regular files below artefacts/sessions/<key>/files, listed in manifest.json beside
it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from eleagent.errors import NotFound
from eleagent.wire.sessions import Artefact
from eleagent_daemon.domain.launch import StoredFile

_T = TypeVar("_T")
_manifest = msgspec.json.Decoder(list[StoredFile])


class Artefacts:
    """The launcher copies the files in (regular ones only, hashed on the way); from then on nobody writes here."""

    def __init__(self, *, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._pool = pool

    def open_folder(self, key: str) -> int:
        """Blocking. A descriptor of the session's folder for the launcher to collect into."""
        path = self._folder / key
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    async def list_artefacts(self, key: str) -> list[Artefact]:
        """Sorted by path; empty before the first collection. A path is UTF-8 with surrogateescape made safe for the
        wire.
        """

        def load() -> list[Artefact]:
            try:
                stored = _manifest.decode((self._folder / key / "manifest.json").read_bytes())
            except FileNotFoundError:
                return []
            return [
                Artefact(path=file.path, size_bytes=file.size_bytes, sha256=file.sha256, mode=file.mode)
                for file in stored
            ]

        return sorted(await self._run(load), key=lambda artefact: artefact.path)

    async def open_artefact(self, key: str, path: str) -> tuple[int, Artefact]:
        """A descriptor of one artefact. Only what the manifest names can be opened; NotFound is raised for the rest."""
        artefact = next((one for one in await self.list_artefacts(key) if one.path == path), None)
        if artefact is None:
            raise NotFound(f"session {key} has no artefact {path!r}: eleagent artefact ls {key} lists them")
        file = self._folder / key / "files" / path
        try:
            return await self._run(lambda: os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)), artefact
        except OSError as err:
            raise NotFound(f"artefact {path!r} of session {key} can't be read: {err.strerror}") from None

    async def remove(self, key: str) -> None:
        """All that a session left; nothing happens when there is nothing."""
        await self._run(lambda: shutil.rmtree(self._folder / key, ignore_errors=True))

    async def _run(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
