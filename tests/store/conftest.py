"""What does a store's test stand on: threads for the disk, and a file that can't grow?"""

from __future__ import annotations

import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import pytest


class Full(Protocol):
    def __call__(self, size: int) -> contextmanager[None]: ...


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=4) as threads:
        yield threads


@pytest.fixture
def no_file_beyond() -> Iterator[Full]:
    """Within it the kernel lets no file of this process grow past `size` bytes: EFBIG, as a full disk says ENOSPC."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
            signal.signal(signal.SIGXFSZ, handler)

    return limited
