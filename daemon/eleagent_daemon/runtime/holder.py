"""Who keeps a sandbox's pipes while launchers come and go, and knows how it ended?

A program of its own that imports next to nothing, since there is one for each sandbox (`python -I -S holder.py`): it
holds the write end of stdin open, keeps what comes out in a log of segments, and writes down the exit status of its
child, bubblewrap. It ends with the sandbox, and the sandbox with it (--die-with-parent).

Files in FOLDER: `log.N` is a segment (positions of both streams at its beginning, then frames), `taken` how far
launchers have stored the output, `exit` the end. Nobody but the launcher may enter the folder.
"""

from __future__ import annotations

import os
import select
import struct
import sys
import time

LOG_BYTES = 16 << 20
"""Of output that is kept. What no launcher has stored is never dropped: then the sandbox waits in its write."""
SEGMENT_BYTES = 2 << 20
PIECE_BYTES = 64 << 10
POSITIONS = struct.Struct("<QQ")
FRAME = struct.Struct("<BI")
OUT, ERR = 1, 2
POLL_S = 0.02
RETRY_S = 1.0
DRAIN_S = 5.0
"""How long after the end its last output is waited for; the kernel has closed the pipes by then."""


def put(name: str, text: str) -> None:
    """Whole or not at all."""
    with open(f"{name}.new", "w") as file:  # noqa: PTH123
        file.write(text)
    os.rename(f"{name}.new", name)  # noqa: PTH104


class Segment:
    def __init__(self, number: int, begin: tuple[int, int]) -> None:
        self.number = number
        self.begin = begin
        self.size = 0


class Log:
    """Both streams' output in the order it was read."""

    def __init__(self) -> None:
        self._position = {OUT: 0, ERR: 0}
        self._segments: list[Segment] = []
        self._file = -1
        self._taken = os.open("taken", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def full(self) -> bool:
        """Whether there is no room for another piece, after what launchers have stored was dropped."""
        while sum(segment.size for segment in self._segments) + PIECE_BYTES > LOG_BYTES:
            taken = POSITIONS.unpack(os.pread(self._taken, POSITIONS.size, 0).ljust(POSITIONS.size, b"\0"))
            second = self._segments[1].begin
            if second[0] > taken[0] or second[1] > taken[1]:
                return True
            os.unlink(f"log.{self._segments.pop(0).number}")  # noqa: PTH108
        return False

    def put(self, stream: int, data: bytes) -> None:
        if self._file < 0 or self._segments[-1].size >= SEGMENT_BYTES:
            self._next_segment()
        self._write(FRAME.pack(stream, len(data)) + data)
        self._position[stream] += len(data)

    def _next_segment(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        number = self._segments[-1].number + 1 if self._segments else 0
        begin = self._position[OUT], self._position[ERR]
        self._file = os.open(f"log.{number}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._segments.append(Segment(number, begin))
        self._write(POSITIONS.pack(*begin))

    def _write(self, data: bytes) -> None:
        """All of it: a full disk stops the reading, as a full log does."""
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._file, view)
            except OSError:
                time.sleep(RETRY_S)
                continue
            self._segments[-1].size += written
            view = view[written:]


def hold(child: int, out: int, err: int) -> int:
    """Until the child has ended and its output is in the log; its exit code, negative for a signal."""
    log, until = Log(), 0.0
    process, streams = os.pidfd_open(child), {out: OUT, err: ERR}
    while not until or streams:
        full = not until and log.full()
        poll = select.poll()
        for fd in (*(() if until else (process,)), *(() if full else streams)):
            poll.register(fd, select.POLLIN)
        wait_s = POLL_S if full else max(0.0, until - time.monotonic()) if until else None
        ready = [fd for fd, _ in poll.poll(None if wait_s is None else wait_s * 1000)]
        if until and not ready:
            break
        for fd in ready:
            if fd == process:
                until = time.monotonic() + DRAIN_S
            elif piece := os.read(fd, PIECE_BYTES):
                log.put(streams[fd], piece)
            else:
                del streams[fd]
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(folder: str, child: str, out: str, err: str) -> None:
    """The write end of stdin comes along as one more descriptor, which is kept and never used."""
    os.chdir(folder)
    code = hold(int(child), int(out), int(err))
    put("exit", str(code if code >= 0 else 128 - code))


if __name__ == "__main__":
    main(*sys.argv[1:])
