"""How are artefacts, whose names are hostile, written into a folder of the caller's?

Every step is taken from the folder's descriptor and follows no link; a file appears whole and verified, or not at all.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from eleagent import textsafe
from eleagent.errors import BadRequest, Conflict, EleAgentError, Refused

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)


class Differs(Conflict):
    """Something else has the name already."""


class OutDir:
    """An open folder. `path` is what the caller called it."""

    def __init__(self, *, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make the folder where there is none. It may be a link of the caller's or root's; below it none is followed.

        Raises BadRequest when it can't be made or is none, Refused when it is a link of someone else's.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            descriptor = _open(path)
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

    def write(self, name: str, pieces: Iterable[bytes], *, sha256: str, replace: bool) -> None:
        """Write `pieces` to `name` below the folder, never executable. They are not read where the same file is there.

        Raises Differs where another file is there and may not be replaced, Refused for a name that leads elsewhere or
        through a link or to a folder, BadRequest where the disk does not take it, EleAgentError for content other than
        `sha256`.
        """
        *folders, last = _parts(name)
        try:
            here = self._descend(folders)
            try:
                if not _is_there(here, last, sha256, replace):
                    _store(here, last, pieces, sha256, replace)
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


def _open(path: Path) -> int:
    try:
        return os.open(path, _FOLDER)
    except NotADirectoryError:
        link = os.lstat(path)
        if not stat.S_ISLNK(link.st_mode):
            raise
        # In a folder that others write to, such as /tmp, whoever owns the link says where it leads.
        if link.st_uid not in (os.geteuid(), 0):
            raise Refused(
                f"the folder {path} is a link of user {link.st_uid} and may lead anywhere: name the folder itself"
            ) from None
        return os.open(path, _FOLDER & ~os.O_NOFOLLOW)


def _parts(name: str) -> list[str]:
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or textsafe.line(name) != name or not _is_encodable(name):
        raise Refused(
            f"the artefact's name {textsafe.line(name)!r} is not one to write: eleagent artefact cat reads it"
        )
    return parts


def _is_encodable(name: str) -> bool:
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return True


def _is_there(folder: int, name: str, sha256: str, replace: bool) -> bool:
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return False
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if replace:
        return False
    if stat.S_ISREG(mode):
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == sha256:
                return True
    raise Differs(f"another {name} is there")


def _store(folder: int, name: str, pieces: Iterable[bytes], sha256: str, replace: bool) -> None:
    draft = f".eleagent-{os.urandom(8).hex()}.part"
    descriptor = os.open(
        draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666, dir_fd=folder
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            digest = _copy(pieces, file)
        if digest != sha256:
            raise EleAgentError(f"{name} arrived with sha256 {digest}, the record says {sha256}")
        _publish(folder, draft, name, replace)
    finally:
        with suppress(FileNotFoundError):  # it has its name
            os.unlink(draft, dir_fd=folder)


def _publish(folder: int, draft: str, name: str, replace: bool) -> None:
    if replace:
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
        return
    try:
        # Unlike a rename, a link replaces nothing, whoever took the name meanwhile.
        os.link(draft, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
    except FileExistsError as error:
        raise Differs(f"another {name} is there") from error
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)


def _copy(pieces: Iterable[bytes], file: BinaryIO) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
        file.write(piece)
    return digest.hexdigest()
