"""What becomes of a session, and what does doctor say, where Podman answers at the engine's socket?"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from eleagent.errors import EleAgentError, IsolationFailed
from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.sandbox import Doors, Placement, SandboxSpec
from eleagent_daemon.runtime.docker import DockerRuntime
from eleagent_daemon.runtime.docker_answers import Info, Version
from eleagent_daemon.runtime.docker_facts import judge

SPEC = SandboxSpec(
    session="s-aaaaaaaaaa",
    installation="i",
    attempt=1,
    image="sha256:abc",
    argv=("true",),
    env={},
    uid=10007,
    stdin=True,
    doors=Doors(),
)
CRUN = {"Name": "OCI Runtime (crun)", "Version": "crun version 1.8.1\ncommit: f8a0"}
RUNC = {"Name": "OCI Runtime (runc)", "Version": "runc version 1.1.5+ds1\nspec: 1.0.2"}


def answer(version: str, *parts: dict[str, str]) -> dict[str, Any]:
    """GET /version, as Podman 4.3.1 has it."""
    return {
        "Version": version,
        "ApiVersion": "1.41",
        "Components": [{"Name": "Podman Engine", "Version": version}, *parts],
    }


def facts(version: str, *parts: dict[str, str]) -> dict[str, tuple[str, str]]:
    lines = judge(msgspec.convert(answer(version, *parts), Version), Info(), frozenset())
    return {line.name: (line.level, line.found) for line in lines}


def _json(content: Any, *, status: int = 200) -> web.Response:
    """With the type that engines send: aiodocker reads no other as JSON."""
    return web.Response(body=msgspec.json.encode(content), status=status, headers={"Content-Type": "application/json"})


class Engine:
    """Speaks as much of the Engine API as a creation needs, and refuses it the way that is set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.version: dict[str, Any] = answer("4.3.1", CRUN)
        self.status = 500
        self.message = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/{prefix:.*}version", self._version)
        app.router.add_post("/{prefix:.*}/containers/create", self._create)
        return app

    async def _version(self, _: web.Request) -> web.Response:
        return _json(self.version)

    async def _create(self, request: web.Request) -> web.Response:
        option = (await request.json())["HostConfig"]["SecurityOpt"][1]
        said = self.message.replace("PROFILE", option.removeprefix("seccomp="))
        return _json({"message": said}, status=self.status)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "engine.sock")
    runner = web.AppRunner(engine.app())
    await runner.setup()
    await web.UnixSite(runner, str(engine.path)).start()
    yield engine
    await runner.cleanup()


async def refusal(engine: Engine) -> EleAgentError:
    runtime = DockerRuntime(socket=str(engine.path), installation="i")
    try:
        with pytest.raises(EleAgentError) as caught:
            await runtime.create(SPEC, Placement({}, {}))
    finally:
        await runtime.close()
    return caught.value


async def test_podman_that_takes_no_profile_fails_the_isolation_in_one_line(engine: Engine) -> None:
    engine.message = "container create: opening seccomp profile failed: open PROFILE: file name too long"
    err = await refusal(engine)
    assert isinstance(err, IsolationFailed)
    assert err.message == (
        "Podman 4.3.1 does not make the sandbox that was asked for (the container engine could not make a sandbox: "
        "container create: opening seccomp profile failed: open the profile: file name too long): "
        "use Docker Engine or set runtime to bubblewrap"
    )
    assert seccomp.load().oci not in err.message


async def test_podman_that_knows_no_option_of_a_tmpfs_fails_the_isolation(engine: Engine) -> None:
    engine.message = 'container create: unknown mount option "nr_inodes=100000": invalid mount option'
    err = await refusal(engine)
    assert isinstance(err, IsolationFailed)
    assert "nr_inodes=100000" in err.message


async def test_podman_that_is_not_ready_is_an_engine_that_is_away(engine: Engine) -> None:
    engine.status, engine.message = 503, "starting"
    assert (await refusal(engine)).code == "engine_unavailable"


async def test_docker_that_refuses_is_a_fault_and_no_failed_isolation(engine: Engine) -> None:
    engine.version = {
        "Version": "20.10.24",
        "ApiVersion": "1.41",
        "Components": [{"Name": "Engine", "Version": "20.10.24"}],
    }
    engine.message = "no space left on device"
    assert (await refusal(engine)).code == "internal"


def test_doctor_fails_the_podman_that_was_tried() -> None:
    level, found = facts("4.3.1")["engine"]
    assert level == "fail"
    assert found.startswith("Podman 4.3.1 (API 1.41): it takes neither the seccomp profile")


def test_doctor_warns_of_a_podman_that_was_not_tried() -> None:
    assert facts("5.4.2")["engine"][0] == "warn"


def test_doctor_reads_podmans_name_of_runc() -> None:
    level, found = facts("4.3.1", RUNC)["runc"]
    assert (level, found.partition(";")[0]) == ("warn", "1.1.5+ds1")
    assert facts("4.3.1", CRUN)["runc"] == ("warn", "the engine names none")


def test_doctor_does_not_ask_podman_for_what_dockerd_alone_has() -> None:
    assert "live-restore" not in facts("4.3.1")
