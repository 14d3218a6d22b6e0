"""How is a tree removed that somebody may have made as deep as they liked?"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(parent_fd: int, name: str) -> None:
    """Remove the file or folder `name` in `parent_fd`, following no link; nothing happens when it is not there.

    Folders are moved up to the top before they are emptied: no path gets long, and there is no recursion.
    """
    try:
        _take_back(name, parent_fd)
        top = os.open(name, _FOLDER, dir_fd=parent_fd)
    except FileNotFoundError:
        return
    except OSError:
        os.unlink(name, dir_fd=parent_fd)
        return
    try:
        moved = f".removed-{secrets.token_hex(8)}-"
        waiting = _empty(top, top, moved, 0)
        number = len(waiting)
        while waiting:
            folder = waiting.pop()
            fd = os.open(folder, _FOLDER, dir_fd=top)
            try:
                below = _empty(fd, top, moved, number)
            finally:
                os.close(fd)
            number += len(below)
            waiting += below
            os.rmdir(folder, dir_fd=top)
    finally:
        os.close(top)
    os.rmdir(name, dir_fd=parent_fd)


def _take_back(name: str, folder: int) -> None:
    """The owner's rights to a folder of ours that another took from it: root needs none."""
    if os.geteuid() == 0:
        return
    with contextlib.suppress(NotADirectoryError):
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            Path(f"/proc/self/fd/{fd}").chmod(0o700)
        finally:
            os.close(fd)


def _empty(folder: int, top: int, moved: str, number: int) -> list[str]:
    """Unlink what is no folder; the folders' new names in `top`."""
    with os.scandir(folder) as listing:
        entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in listing]
    folders: list[str] = []
    for name, is_dir in entries:
        if is_dir:
            _take_back(name, folder)
            folders.append(f"{moved}{number + len(folders)}")
            os.rename(name, folders[-1], src_dir_fd=folder, dst_dir_fd=top)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    return folders
