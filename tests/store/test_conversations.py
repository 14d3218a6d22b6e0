"""Is an export whole or not there?"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eleagent_daemon.store.conversations import Conversations


async def pieces(*texts: bytes, fails: bool = False) -> AsyncIterator[bytes]:
    for text in texts:
        yield text
    if fails:
        raise RuntimeError("the source broke")


async def test_export_is_written_whole_and_can_be_read(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store = Conversations(folder=tmp_path, pool=pool)
    fd, size = await store.write("s-a.md", pieces(b"one", b"two"))
    try:
        assert (os.pread(fd, 100, 0), size) == (b"onetwo", 6)
    finally:
        os.close(fd)
    assert [path.name for path in tmp_path.iterdir()] == ["s-a.md"]
    assert (tmp_path / "s-a.md").stat().st_mode & 0o777 == 0o600


async def test_export_that_breaks_leaves_the_earlier_one(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store = Conversations(folder=tmp_path, pool=pool)
    os.close((await store.write("s-a.md", pieces(b"first")))[0])
    with pytest.raises(RuntimeError):
        await store.write("s-a.md", pieces(b"sec", fails=True))
    assert (tmp_path / "s-a.md").read_bytes() == b"first"
    assert len(list(tmp_path.iterdir())) == 1


async def test_exports_of_a_session_go_together(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    store = Conversations(folder=tmp_path, pool=pool)
    for name in ("s-a.md", "s-a.jsonl", "s-b.md"):
        os.close((await store.write(name, pieces(b"x")))[0])
    await store.remove("s-a")
    assert [path.name for path in tmp_path.iterdir()] == ["s-b.md"]
