"""Does the host see every program that a sandbox runs, with its arguments, and nothing of anybody else's?"""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from eleagent.wire.observations import Arguments, ObservationGap, ObservationStarted, Observer, ProgramExecuted
from eleagent.wire.payload import Payload
from eleagent_daemon.domain.launch import Made
from eleagent_daemon.domain.observed import unpack
from eleagent_daemon.domain.spool import Stream
from eleagent_daemon.kernel.netlink import AUDIT, DONE, ask, open_sockets
from eleagent_daemon.launcher.observe.events import Events
from eleagent_daemon.launcher.observe.programs import LINGER_S
from eleagent_daemon.launcher.observe.rules import Rules, key_of
from eleagent_daemon.store.spoolreader import SpoolReader

from .launcher_bench import Bench, launcher_bench

pytestmark = pytest.mark.engine

HOSTILE = ["a b", 'x" a1="y', "\x1b[2J\n", "ünï", "", "key=(null)", "z" * 20_000, "\x01" * 9000]


@pytest.fixture
async def bench(tmp_path: Path, docker_socket: str) -> AsyncIterator[Bench]:
    async with launcher_bench(tmp_path, docker_socket) as bench:
        yield bench


def observed(made: Made) -> list[Payload]:
    reader, found = SpoolReader(folder=Path(made.spool), offset=0), []
    while frames := reader.read():
        found += [one for frame in frames if frame.stream is Stream.SEEN for one in unpack(frame.payload)]
    return found


def programs(made: Made) -> list[ProgramExecuted]:
    return [one for one in observed(made) if isinstance(one, ProgramExecuted)]


async def rules(installation: str = "") -> list[str]:
    """The keys of our rules in the kernel, those of others' launchers too where no installation is named."""
    (control,) = await open_sockets(AUDIT, (0,))
    with control:
        listed = ask(control, 1013, last=DONE)
    return [key for rule in listed if (key := key_of(rule)).startswith(f"eleagent-{installation}")]


async def no_rule_is_left(bench: Bench) -> None:
    """It stays a little, for a sandbox that follows."""
    async with asyncio.timeout(LINGER_S + 3):
        while await rules(bench.installation):
            await asyncio.sleep(0.1)


async def test_programs_are_seen_with_their_arguments_from_the_release_to_the_end(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", 'cd /tmp; env true "$@"; (env false); exec echo last', "sh", *HOSTILE)
    made = await bench.run(spec)
    await bench.ended(spec.session)
    seen = observed(made)
    assert seen[0] == ObservationStarted(programs=Observer.AUDIT, passing=True)
    found = programs(made)
    assert [one.argv[0] for one in found] == ["sh", "env", "true", "env", "false", "echo"]
    agent, env, true = found[:3]
    assert agent.argv == list(spec.argv)
    assert true.argv == ["true", *HOSTILE]
    assert {one.arguments for one in found} == {Arguments.KERNEL}
    assert (env.ppid, env.cwd, true.exe, true.pid) == (agent.pid, "/tmp", "/usr/bin/true", env.pid)
    assert found[-1].pid == agent.pid
    assert found[0].at <= found[-1].at
    await bench.remove(spec.session)
    await no_rule_is_left(bench)


async def test_programs_with_more_arguments_than_are_kept_have_length_and_digest(bench: Bench) -> None:
    make = "import os; os.execv('/bin/true', ['true', *['\\x02' * 131000] * 12])"
    spec = bench.spec("python3", "-c", make)
    made = await bench.run(spec)
    assert (await bench.ended(spec.session)).status.exit_code == 0
    last = programs(made)[-1]
    whole = b"true\0" + (b"\x02" * 131_000 + b"\0") * 12
    assert (last.argv_bytes, last.argv_sha256) == (len(whole), hashlib.sha256(whole).hexdigest())
    assert last.argv[0] == "true"


async def test_programs_of_two_sandboxes_are_kept_apart(bench: Bench) -> None:
    specs = [bench.spec("sh", "-c", f"for i in 1 2 3 4 5; do env true {name}; done") for name in ("one", "two")]
    made = [await bench.run(spec) for spec in specs]
    for spec in specs:
        await bench.ended(spec.session)
    for one, name in zip(made, ("one", "two"), strict=True):
        assert [found.argv[1] for found in programs(one) if found.argv[0] == "true"] == [name] * 5


async def test_programs_that_nobody_watched_are_a_gap_and_no_rule_is_left(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "while :; do env true; sleep 0.05; done")
    made = await bench.run(spec)
    (before,) = await rules(bench.installation)
    bench.kill()
    await asyncio.sleep(0.5)
    await bench.start()
    (after,) = await rules(bench.installation)
    assert after != before, "a rule of a launcher that is gone is taken away"
    seen = len(observed(made))
    await asyncio.sleep(0.5)
    (gap,) = [one for one in observed(made) if isinstance(one, ObservationGap)]
    assert gap.begin < gap.end
    assert "launcher was away" in gap.what
    assert len(observed(made)) > seen + 4
    await bench.remove(spec.session)
    await no_rule_is_left(bench)


async def test_programs_are_seen_again_when_somebody_took_the_rule_away(bench: Bench) -> None:
    spec = bench.spec("sh", "-c", "while :; do env true; sleep 0.05; done")
    made = await bench.run(spec)
    (key,) = await rules(bench.installation)
    (control,) = await open_sockets(AUDIT, (0,))
    with control:
        for rule in ask(control, 1013, last=DONE):
            if key.encode() in rule:
                ask(control, 1012, rule)
    while not (gaps := [one for one in observed(made) if isinstance(one, ObservationGap)]):
        await asyncio.sleep(0.1)
    assert "removed the rule" in gaps[0].what
    assert await rules(bench.installation) == [key]


async def test_programs_beside_another_launcher_are_seen_and_its_rule_is_left_alone(bench: Bench) -> None:
    other = subprocess.Popen(["sleep", "60"])
    try:
        (control,) = await open_sockets(AUDIT, (0,))
        with control:
            taken = Rules(sock=control, installation="other")
            stat = Path(f"/proc/{other.pid}/stat").read_text().rpartition(")")[2].split()[19]
            taken.key = f"eleagent-other-{other.pid}-{stat}"
            taken.arm()
            spec = bench.spec("sh", "-c", "for i in 1 2 3; do env true $i; done; exec sleep 1")
            made = await bench.run(spec)
            stranger = subprocess.run(
                ["setpriv", "--reuid", str(spec.uid), "--clear-groups", "sleep", "0.3"], check=True, timeout=20
            )
            assert stranger.returncode == 0
            await bench.ended(spec.session)
            assert [one.argv[0] for one in programs(made)] == ["sh", *["env", "true"] * 3, "sleep"]
            assert {"sleep", "0.3"} not in [set(one.argv) for one in programs(made)], "the user alone proves nothing"
            assert taken.key in await rules()
            await bench.remove(spec.session)
            assert taken.key in await rules()
            taken.disarm()
    finally:
        other.kill()
        other.wait()


async def test_programs_are_seen_by_process_events_where_audit_can_not_be_had() -> None:
    """Their arguments are late, or unknown of those that were gone before."""
    source = await Events.open()
    script = "sleep 0.3; env sleep 0.2; (sleep 0.3; /bin/true a); for i in 1 2 3 4; do /bin/true; done"
    process = await asyncio.create_subprocess_exec(
        "sh", "-c", f"read x; exec setpriv --reuid 14000 sh -c '{script}'", stdin=-1
    )
    source.watch(14000, process.pid)
    await process.communicate(b"\n")
    found: list[ProgramExecuted] = []
    mark = source.mark()
    while source.passed < mark:
        try:
            found += [execution for uid, execution in source.read() if uid == 14000]
        except BlockingIOError:
            continue
    source.close()
    own = 11  # setpriv, sh, three sleeps and env, five times true
    assert own <= len(found) <= own + 1, "the first shell may have begun before it was watched"
