"""What has a sandbox written since a given place? Reads the launcher's spool, which eleagentd may read and never
writes.
"""

from __future__ import annotations

from pathlib import Path

from eleagent_daemon.domain.spool import HEADER, PAYLOAD_LIMIT, SUFFIX, Frame, TornFrame, decode

_READ_BYTES = 1 << 20


class SpoolReader:
    """Frames from spool offset `offset` on. Blocking: call it in a thread."""

    def __init__(self, *, folder: Path, offset: int) -> None:
        self.folder = folder
        self.offset = offset

    def read(self) -> list[Frame]:
        """The next whole frames, about 1 MiB of them; empty when the spool has no more for now.

        Raises TornFrame when the spool is damaged and FileNotFoundError when it is gone.
        """
        segment = self._segment()
        if segment is None:
            return []
        start, path = segment
        try:
            file = path.open("rb")
        except FileNotFoundError:  # it was read to its end, and the launcher let go of it just now: a next one is there
            return self.read()
        with file:
            file.seek(self.offset - start)
            data = memoryview(file.read(_READ_BYTES + HEADER.size + PAYLOAD_LIMIT))
        frames: list[Frame] = []
        taken = 0
        try:
            while taken < _READ_BYTES and (frame := decode(data[taken:])):
                frames.append(frame)
                taken += HEADER.size + len(frame.payload)
        except TornFrame:
            if not frames:  # what lies before the damage is given out first
                raise
        self.offset += taken
        return frames

    def _segment(self) -> tuple[int, Path] | None:
        """The segment that holds `offset`: the last one that begins at or before it."""
        starts = sorted(int(path.name.removesuffix(SUFFIX)) for path in self.folder.iterdir() if path.suffix == SUFFIX)
        before = [start for start in starts if start <= self.offset]
        if not before:
            return None
        return before[-1], self.folder / f"{before[-1]:020d}{SUFFIX}"
