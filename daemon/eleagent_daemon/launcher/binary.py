"""Is a binary what the release's lock says, and stays it so until it is in an image?"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from eleagent.errors import Refused
from eleagent.wire.agents import AgentLock
from eleagent_daemon.kernel.child import in_child

_BLOCK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 300.0


async def copy_verified(fd: int, lock: AgentLock, folder: Path) -> int:
    """The descriptor of a nameless copy, below `folder`, that nobody else can write: what `fd` stands for may change
    after it was read. Raises Refused for anything but the lock's binary.
    """

    def job() -> tuple[None, Sequence[int]]:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != lock.size_bytes:
            raise Refused(f"this is not {lock.agent} {lock.version}: it is no file of {lock.size_bytes} bytes")
        with tempfile.TemporaryFile(dir=folder) as copy:
            digest, position = hashlib.sha256(), 0
            while position < lock.size_bytes and (block := os.pread(fd, _BLOCK_BYTES, position)):
                digest.update(block)
                copy.write(block)
                position += len(block)
            copy.flush()
            if digest.hexdigest() != lock.sha256:
                raise Refused(
                    f"this is not {lock.agent} {lock.version}: its SHA-256 is {digest.hexdigest()}, "
                    f"the lock file says {lock.sha256}"
                )
            return None, [os.dup(copy.fileno())]

    _, (copy,) = await in_child(job, type(None), keep=[fd], timeout_s=_TIMEOUT_S)
    return copy
