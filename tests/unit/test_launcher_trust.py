"""What does the launcher not take from a daemon that may have been taken over?"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from eleagent.errors import BadRequest, NotFound, Refused
from eleagent.wire.agents import AgentLock
from eleagent_daemon.agents.files import get_dockerfile, get_image_name
from eleagent_daemon.domain.channel import MESSAGE_LIMIT_BYTES
from eleagent_daemon.domain.sandbox import DataMount, Doors, Limits, SandboxSpec
from eleagent_daemon.launcher.binary import copy_verified
from eleagent_daemon.launcher.collect import Collection, check_target
from eleagent_daemon.launcher.specs import check

SPEC = SandboxSpec(
    session="s-abcdefghij",
    installation="here",
    attempt=1,
    image=f"sha256:{'a' * 64}",
    argv=("true",),
    env={"PATH": "/bin"},
    uid=10001,
    stdin=False,
    doors=Doors(model=810),
    data=(DataMount(token="t", path="/srv/x", target="/data", device=1, inode=2),),
)


def mount(target: str) -> tuple[DataMount, ...]:
    return (msgspec.structs.replace(SPEC.data[0], target=target),)


def test_spec_of_the_daemon_is_taken() -> None:
    check(SPEC, installation="here")
    check(msgspec.structs.replace(SPEC, data=mount("/data/with space\n")), installation="here")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"session": "../../../x"}, "session key"),
        ({"installation": "there"}, "installation"),
        ({"attempt": 0}, "attempt"),
        ({"uid": 0}, "uid 0"),
        ({"uid": 10001 + 4096}, "uid"),
        ({"image": "debian:bookworm-slim"}, "content digest"),
        ({"image": f"sha256:{'a' * 64}\n"}, "content digest"),
        ({"workdir": "/etc"}, "workdir"),
        ({"doors": Doors(tunnel=80)}, "doors"),
        ({"doors": Doors(model=328)}, "doors"),
        ({"argv": ()}, "argv is empty"),
        ({"argv": ("a\0b",)}, "NUL"),
        ({"env": {"A=B": "c"}}, "environment variable"),
        ({"env": {"A": "b\0c"}}, "NUL"),
        ({"data": mount("/data/../etc")}, "targets"),
        ({"data": mount("/data/..")}, "targets"),
        ({"data": mount("/etc")}, "targets"),
        ({"data": mount("/data/" + 256 * "x")}, "targets"),
        ({"data": 2 * mount("/data/x")}, "targets"),
    ],
)
def test_spec_that_no_daemon_needs_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        check(msgspec.structs.replace(SPEC, **change), installation="here")


@pytest.mark.parametrize("name", Limits.__struct_fields__)
@pytest.mark.parametrize("value", [0, -1, 1 << 62])
def test_spec_with_a_limit_that_limits_nothing_is_refused(name: str, value: int) -> None:
    with pytest.raises(BadRequest, match=f"limits.{name}"):
        check(msgspec.structs.replace(SPEC, limits=Limits(**{name: value})), installation="here")


def test_spec_with_a_processor_share_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadRequest, match=r"limits\.cpus"):
        check(msgspec.structs.replace(SPEC, limits=Limits(cpus=math.nan)), installation="here")


def test_collection_goes_into_the_daemons_own_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (tmp_path / "file").open() as file, pytest.raises(Refused):
        check_target(file.fileno(), os.getuid())
    fd = os.open(tmp_path, os.O_RDONLY)
    check_target(fd, os.getuid())
    with pytest.raises(Refused, match=f"this is uid {os.getuid()}'s"):
        check_target(fd, os.getuid() + 1)
    os.close(fd)


def test_collection_answer_fits_a_message_whatever_the_names(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    folder = source / (200 * "\x01") / (200 * "\x02")
    folder.mkdir(parents=True)
    target.mkdir()
    for number in range(120):
        (folder / f"{number:03}{240 * chr(3)}").symlink_to("nowhere")
    fd = os.open(target, os.O_RDONLY)
    collected = Collection(source=source, target_fd=fd, owner=os.getuid(), limit_bytes=1, limit_files=1).run()
    os.close(fd)
    assert len(msgspec.json.encode(collected)) < MESSAGE_LIMIT_BYTES
    assert len(collected.skipped) > 10
    assert collected.skipped[-1] == f"… and {121 - len(collected.skipped)} more"


LOCK = AgentLock(
    agent="tool", version="1", platform="x", sha256=hashlib.sha256(b"right").hexdigest(), size_bytes=5, npm="", pypi=""
)


async def test_binary_is_copied_as_the_lock_has_it(tmp_path: Path) -> None:
    (tmp_path / "tool").write_bytes(b"right")
    with (tmp_path / "tool").open("r+b") as file:
        copy = await copy_verified(file.fileno(), LOCK, tmp_path)
        file.write(b"wrong")
    assert os.pread(copy, 99, 0) == b"right"
    os.close(copy)
    assert [path.name for path in tmp_path.iterdir()] == ["tool"]


@pytest.mark.parametrize("content", [b"wrong", b"right and more", b""])
async def test_binary_that_is_not_the_locks_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tool").write_bytes(content)
    with (tmp_path / "tool").open("rb") as file, pytest.raises(Refused, match="this is not tool 1"):
        await copy_verified(file.fileno(), LOCK, tmp_path)


@pytest.mark.parametrize("agent", ["nobody", "../agents/claude", ".", "", "/etc"])
def test_image_of_no_agent_of_ours_is_not_built(agent: str) -> None:
    with pytest.raises(NotFound):
        get_dockerfile(agent)
    with pytest.raises(NotFound):
        get_image_name(agent)
