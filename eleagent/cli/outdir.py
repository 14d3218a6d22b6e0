"""How are artefacts, whose names are hostile, written into a folder of the caller's?

Every step is taken from the folder's descriptor and follows no link; a file appears whole and verified, or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from eleagent import textsafe
from eleagent.client.api import Client
from eleagent.errors import BadRequest, EleAgentError, Refused
from eleagent.operations import ARTEFACT_GET
from eleagent.wire.sessions import Artefact

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY)


class OutDir:
    """An open folder. `path` is what the caller called it."""

    def __init__(self, *, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the folder where there is none. Raises BadRequest when it can't be made or is none."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            # The caller named this one, so it may be a link; from here on none is followed.
            descriptor = os.open(path, _FOLDER & ~os.O_NOFOLLOW)
        except OSError as error:
            why = "it is no folder" if isinstance(error, FileExistsError) else error.strerror
            raise BadRequest(f"the folder {path} can't be used: {why}", path=str(path)) from error
        if not os.access(path, os.W_OK | os.X_OK):
            os.close(descriptor)
            raise BadRequest(f"the folder {path} can't be used: you may not write there", path=str(path))
        return cls(path=path, descriptor=descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        os.close(self._descriptor)

    def write(self, name: str, pieces: Iterable[bytes], *, sha256: str) -> None:
        """Write `pieces` to `name` below the folder, never executable. Replaces a file of that name.

        Raises Refused for a name that leads elsewhere or through a link or that is taken by something else, BadRequest
        where the disk does not take it, EleAgentError for content other than `sha256`.
        """
        *folders, last = _parts(name)
        try:
            here = self._descend(folders)
            try:
                _store(here, last, pieces, sha256)
            finally:
                os.close(here)
        except OSError as error:
            kind = Refused if error.errno in _IN_THE_WAY else BadRequest
            raise kind(f"{textsafe.line(name)} can't be written below {self.path}: {error.strerror}") from error

    def _descend(self, folders: list[str]) -> int:
        here = os.dup(self._descriptor)
        for folder in folders:
            try:
                try:
                    below = os.open(folder, _FOLDER, dir_fd=here)
                except FileNotFoundError:
                    os.mkdir(folder, 0o777, dir_fd=here)
                    below = os.open(folder, _FOLDER, dir_fd=here)
            finally:
                os.close(here)
            here = below
        return here


def fetch(client: Client, key: str, artefact: Artefact, folder: OutDir, name: str | None = None) -> None:
    """Copy one artefact into `folder`, as `name` or as its own path."""
    pieces = client.download(ARTEFACT_GET, query={"path": artefact.path}, key=key)
    folder.write(name or artefact.path, pieces, sha256=artefact.sha256)


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or textsafe.line(name) != name:
        raise Refused(
            f"the artefact's name {textsafe.line(name)!r} is not one to write: eleagent artefact cat reads it"
        )
    return parts


def _store(folder: int, name: str, pieces: Iterable[bytes], sha256: str) -> None:
    draft = f".eleagent-{secrets.token_hex(8)}.part"
    descriptor = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            digest = _copy(pieces, file)
        if digest != sha256:
            raise EleAgentError(f"{name} arrived with sha256 {digest}, the record says {sha256}")  # noqa: TRY301  # cleaned up below
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        os.unlink(draft, dir_fd=folder)
        raise


def _copy(pieces: Iterable[bytes], file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        file.write(piece)
    return digest.hexdigest()
