"""Where do exports of timelines lie, and how is one written whole?"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from eleagent.errors import StorageUnavailable


class Conversations:
    """One file a session and format; a later export takes the place of an earlier one."""

    def __init__(self, *, folder: Path, pool: ThreadPoolExecutor) -> None:
        self._folder = folder
        self._pool = pool

    async def write(self, name: str, pieces: AsyncIterable[bytes]) -> tuple[int, int]:
        """A descriptor of the whole file, and its size. Raises StorageUnavailable."""
        loop = asyncio.get_running_loop()
        path, new = self._folder / name, self._folder / f".{name}.{id(pieces):x}.new"
        try:
            file = await loop.run_in_executor(self._pool, _create, new)
            try:
                async for piece in pieces:
                    await loop.run_in_executor(self._pool, file.write, piece)
                return await loop.run_in_executor(self._pool, _finish, file, new, path)
            finally:
                await loop.run_in_executor(self._pool, file.close)
                with contextlib.suppress(FileNotFoundError):
                    await loop.run_in_executor(self._pool, new.unlink)
        except OSError as err:
            raise StorageUnavailable(f"the export {path} can't be written: {err.strerror}") from err

    async def remove(self, key: str) -> None:
        """All exports of a session."""

        def work() -> None:
            for path in self._folder.glob(f"{key}.*"):
                path.unlink(missing_ok=True)

        await asyncio.get_running_loop().run_in_executor(self._pool, work)


def _create(path: Path) -> IO[bytes]:
    return open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600), "w+b")  # noqa: PTH123


def _finish(file: IO[bytes], new: Path, path: Path) -> tuple[int, int]:
    file.flush()
    os.fsync(file.fileno())
    new.rename(path)
    return os.dup(file.fileno()), os.fstat(file.fileno()).st_size
