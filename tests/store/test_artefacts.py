"""Can anything but what the manifest names be read from a session's artefacts?"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from eleagent.errors import NotFound
from eleagent_daemon.domain.launch import StoredFile
from eleagent_daemon.store.artefacts import Artefacts

ODD = ["a b.csv", "-rf", "ünï.txt", "new\nline", "\x1b[31mred", "deep/er/file", "%2e%2e", "...", "'\"$(id)"]


@pytest.fixture
def artefacts(tmp_path: Path, pool: ThreadPoolExecutor) -> Artefacts:
    folder = tmp_path / "s" / "files"
    for name in [*ODD, "unlisted"]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"content of {name}")
    (folder / "link").symlink_to("/etc/passwd")
    stored = [StoredFile(path=name, size_bytes=1, sha256="00", mode=0o640) for name in [*ODD, "link", "lost"]]
    (tmp_path / "s" / "manifest.json").write_bytes(msgspec.json.encode(stored))
    return Artefacts(folder=tmp_path, pool=pool)


async def test_artefacts_list_is_the_manifest_sorted(artefacts: Artefacts) -> None:
    listed = await artefacts.list_artefacts("s")
    assert [one.path for one in listed] == sorted([*ODD, "link", "lost"])
    assert {one.mode for one in listed} == {0o640}


async def test_artefacts_list_before_a_collection_is_empty(artefacts: Artefacts) -> None:
    assert await artefacts.list_artefacts("nobody") == []


@pytest.mark.parametrize("name", ODD)
async def test_artefacts_with_an_odd_name_are_read(artefacts: Artefacts, name: str) -> None:
    fd, artefact = await artefacts.open_artefact("s", name)
    with os.fdopen(fd) as file:
        assert (file.read(), artefact.path) == (f"content of {name}", name)


@pytest.mark.parametrize(
    "path", ["unlisted", "../manifest.json", "./a b.csv", "deep", "", "/etc/passwd", "deep//er/file"]
)
async def test_artefacts_that_the_manifest_does_not_name_are_not_found(artefacts: Artefacts, path: str) -> None:
    with pytest.raises(NotFound, match="eleagent artefact ls s"):
        await artefacts.open_artefact("s", path)


@pytest.mark.parametrize("path", ["link", "lost"])
async def test_artefacts_that_are_no_files_any_more_are_not_found(artefacts: Artefacts, path: str) -> None:
    with pytest.raises(NotFound):
        await artefacts.open_artefact("s", path)


def test_artefacts_folder_is_the_daemons_alone(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    os.close(Artefacts(folder=tmp_path / "sessions", pool=pool).open_folder("s-a"))
    assert (tmp_path / "sessions" / "s-a").stat().st_mode & 0o777 == 0o700
