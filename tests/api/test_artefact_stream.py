"""Is an artefact's descriptor given back, however its caller leaves?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from eleagent_daemon.api.answer import Stream
from eleagent_daemon.api.artefacts import ArtefactHandlers
from eleagent_daemon.api.pipeline import Call
from eleagent_daemon.domain.launch import StoredFile
from eleagent_daemon.store.artefacts import Artefacts

SIZE = 3 << 18


def descriptors_of(path: Path) -> int:
    links = []
    for one in Path("/proc/self/fd").iterdir():
        try:
            links.append(one.readlink())
        except FileNotFoundError:  # the folder's own
            continue
    return links.count(path)


@pytest.mark.parametrize("read", [0, 1, 9])
async def test_artefact_descriptor_is_closed_after_any_number_of_chunks(tmp_path: Path, read: int) -> None:
    file = tmp_path / "s" / "files" / "report"
    file.parent.mkdir(parents=True)
    file.write_bytes(os.urandom(SIZE))
    stored = [StoredFile(path="report", size_bytes=SIZE, sha256="00", mode=0o640)]
    (tmp_path / "s" / "manifest.json").write_bytes(msgspec.json.encode(stored))
    nothing = cast(Any, None)
    call = Call(
        operation=nothing, caller=nothing, path={"key": "s"}, query={"path": "report"}, body=None, token=None,
        request=nothing,
    )  # fmt: skip
    with ThreadPoolExecutor(max_workers=1) as pool:
        handlers = ArtefactHandlers(sessions=nothing, artefacts=Artefacts(folder=tmp_path, pool=pool))
        answer: Stream = await handlers.get(call)
        assert descriptors_of(file) == 1
        given = b""
        for _ in range(read):
            given += await anext(answer.chunks, b"")
        await answer.chunks.aclose()
        answer.release()
    assert descriptors_of(file) == 0
    assert file.read_bytes().startswith(given)
    assert len(given) == min(read << 18, SIZE)
