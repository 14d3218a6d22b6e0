"""What does the kernel tell of names that went from a whole file system (fanotify(7))?"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_CLASS_NOTIF_CLOEXEC_NONBLOCK: Final = 0x1 | 0x2
_REPORT_DFID_NAME: Final = 0x400 | 0x800
_MARK_ADD_FILESYSTEM: Final = 0x1 | 0x100
_MOVED_FROM, _DELETE, _OVERFLOW = 0x40, 0x200, 0x4000
_INFO_DFID_NAME: Final = 2
_EVENT: Final = struct.Struct("=IBBHQii")
"""linux/fanotify.h, struct fanotify_event_metadata: length, version, reserved, length of this, mask, fd, pid."""
_INFO: Final = struct.Struct("=BxH8xIi")
"""struct fanotify_event_info_fid: type, length, file system id, and of its file_handle size and type."""
_READ_BYTES: Final = 1 << 14

_libc: Final = ctypes.CDLL(None, use_errno=True)


class Gone(NamedTuple):
    """A name that was deleted or moved away. `folder` is the handle of the folder that it lay in; empty, with no name:
    the kernel had no room and dropped what happened.
    """

    folder: bytes
    name: bytes


def watch_removals(mount: Path) -> int:
    """A descriptor that tells of every file that goes from the file system at `mount`. Raises OSError, also where the
    caller is not root or the kernel is older than 5.9.
    """
    flags = _CLASS_NOTIF_CLOEXEC_NONBLOCK | _REPORT_DFID_NAME
    fd = _check(_libc.fanotify_init(ctypes.c_uint(flags), ctypes.c_uint(os.O_RDONLY)), "fanotify_init")
    try:
        mask = ctypes.c_uint64(_MOVED_FROM | _DELETE)
        path = os.fsencode(mount)
        _check(_libc.fanotify_mark(fd, ctypes.c_uint(_MARK_ADD_FILESYSTEM), mask, -100, path), str(mount))
    except OSError:
        os.close(fd)
        raise
    return fd


def read_removals(fd: int) -> Iterator[Gone]:
    """What has happened, as far as one reading takes. Raises BlockingIOError when nothing has."""
    data = os.read(fd, _READ_BYTES)
    while len(data) >= _EVENT.size:
        length, _, _, header, mask, _, _ = _EVENT.unpack_from(data)
        if mask & _OVERFLOW:
            yield Gone(b"", b"")
        else:
            yield from _gone(data[header:length])
        data = data[max(length, _EVENT.size) :]


def find_folder(mount_fd: int, handle: bytes) -> Path | None:
    """Where the folder of that handle lies now; None for one that is gone."""
    fd = _libc.open_by_handle_at(mount_fd, handle, os.O_PATH | os.O_CLOEXEC)
    if fd < 0:
        return None
    try:
        path = Path(f"/proc/self/fd/{fd}").readlink()
    finally:
        os.close(fd)
    return None if str(path).endswith(" (deleted)") else path


def _gone(info: bytes) -> Iterator[Gone]:
    while len(info) >= _INFO.size:
        kind, length, size, _ = _INFO.unpack_from(info)
        if kind == _INFO_DFID_NAME:
            handle = info[_INFO.size - 8 : _INFO.size + size]
            yield Gone(handle, info[_INFO.size + size : length].split(b"\0", 1)[0])
        info = info[max(length, _INFO.size) :]


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)
    return result
