"""Which parts of a file hold data, and which are holes that a copy need not fill?"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator


def data_spans(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each part below `size` that is no hole (lseek(2), SEEK_DATA)."""
    end = 0
    while end < size:
        try:
            begin = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = min(os.lseek(fd, begin, os.SEEK_HOLE), size)
        if begin < end:
            yield begin, end
