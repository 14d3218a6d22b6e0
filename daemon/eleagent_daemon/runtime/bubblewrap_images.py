"""What is an image where there is no engine? The host's own /usr, and for an agent its binary beside it.

Nothing is built: a binary that was verified against the release's lock is kept below its digest, and shown to sandboxes
read-only.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from eleagent.errors import ImageMissing
from eleagent_daemon.agents.files import DIGEST_LABEL, get_image_name, list_images
from eleagent_daemon.domain.launch import ImageFacts
from eleagent_daemon.domain.root import Root
from eleagent_daemon.kernel.child import in_child

_BLOCK_BYTES: Final = 1 << 20
_STORE_S: Final = 300.0


class Images:
    """`folder` holds the binaries, by their digests."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, reference: str) -> list[ImageFacts]:
        """Those that are ready, or the one of that name."""
        named = [get_image_name(agent) for agent in list_images()]
        return [
            self._facts(image.reference, Root(agent=image.agent, sha256=image.sha256), image.labels)
            for image in named
            if reference in ("", image.reference) and (not image.sha256 or self._binary(image.sha256).exists())
        ]

    def known(self, reference: str) -> bool:
        return reference in [get_image_name(agent).reference for agent in list_images()]

    def get(self, digest: str) -> dict[str, str]:
        """What such a root shows besides the host's: target → source. Raises ImageMissing."""
        for agent in list_images():
            root = Root(agent=agent, sha256=get_image_name(agent).sha256)
            if root.digest == digest and (not root.sha256 or self._binary(root.sha256).exists()):
                return {root.binary: str(self._binary(root.sha256))} if root.sha256 else {}
        raise ImageMissing(
            f"image {digest} is not here: eleagent agent install NAME, then eleagent image build NAME", image=digest
        )

    async def store(self, files: Mapping[str, int], labels: Mapping[str, str]) -> None:
        """Keep an agent's binary, given as a descriptor of what was verified. Raises Unavailable."""
        for fd in files.values():
            job = partial(self._store, fd, labels[DIGEST_LABEL])
            await in_child(job, type(None), keep=[fd], timeout_s=_STORE_S)

    def _store(self, fd: int, sha256: str) -> tuple[None, list[int]]:
        target, new = self._binary(sha256), self._binary(f"{sha256}.new")
        self._folder.mkdir(mode=0o711, exist_ok=True)
        with os.fdopen(fd, "rb") as source, new.open("wb") as copy:
            source.seek(0)
            shutil.copyfileobj(source, copy, _BLOCK_BYTES)
            copy.flush()
            os.fsync(copy.fileno())
        new.chmod(0o755)
        new.rename(target)
        return None, []

    def _binary(self, sha256: str) -> Path:
        return self._folder / sha256

    def _facts(self, reference: str, root: Root, labels: Mapping[str, str]) -> ImageFacts:
        size, created = 0, ""
        if root.sha256:
            found = self._binary(root.sha256).stat()
            size, created = found.st_size, datetime.fromtimestamp(found.st_mtime, UTC).isoformat()
        return ImageFacts(reference, root.digest, size, created, dict(labels))
