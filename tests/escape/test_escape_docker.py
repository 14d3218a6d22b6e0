"""Does a sandbox that Docker makes from our spec hold everything that is tried in it?"""

from __future__ import annotations

import socket
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from eleagent_daemon.domain.sandbox import DATA_DIR

from .harness import Arena, DockerSandboxes, Engine, list_probes, probe_argv, run_probes, told
from .lab import Lab

pytestmark = pytest.mark.engine


@pytest.fixture
def sandboxes(escape_engine: Engine) -> DockerSandboxes:
    return DockerSandboxes(escape_engine)


def test_probes_are_fifty_or_more() -> None:
    assert len([each for each in list_probes() if not each.group]) >= 50


def test_sandbox_holds_every_probe(sandboxes: DockerSandboxes, arena: Arena, escape_lab: Lab) -> None:
    before = escape_lab.seen()
    answers = run_probes(sandboxes, arena)
    assert set(answers) == {each.probe for each in list_probes() if not each.group}
    assert [str(each) for each in answers.values() if not each.contained] == []
    assert escape_lab.seen() == before


def test_lab_counts_what_the_host_sends(escape_lab: Lab) -> None:
    """The counter that must stay at zero is one that works."""
    before = escape_lab.seen()
    for host in (*escape_lab.hosts, escape_lab.metadata):
        socket.create_connection((host, 80), timeout=2).close()
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", (host, 53))
    time.sleep(0.1)
    assert all(after > before[host] for host, after in escape_lab.seen().items())


def test_neighbour_works_while_another_user_takes_everything(sandboxes: DockerSandboxes, arena: Arena) -> None:
    greedy, modest = replace(arena, uid=arena.uid + 1), arena
    hold = ["python3", f"{DATA_DIR}/probes", "--hold", "30"]
    with sandboxes.box(hold, greedy) as box:
        _wait_for(box.output, "held: ")
        answers = run_probes(sandboxes, modest, only=["limits-are-ours"])
        assert [str(each) for each in answers.values() if not each.contained] == []


def test_neighbour_of_the_same_user_starves(sandboxes: DockerSandboxes, arena: Arena) -> None:
    """Why no two live sandboxes have one user: the probe above can fail."""
    hold = ["python3", f"{DATA_DIR}/probes", "--hold", "30"]
    with sandboxes.box(hold, arena) as box:
        _wait_for(box.output, "held: ")
        assert not run_probes(sandboxes, arena, only=["limits-are-ours"])["limits-are-ours"].contained


def test_two_sandboxes_share_no_mount_that_one_can_write(sandboxes: DockerSandboxes, arena: Arena) -> None:
    """A folder in common would carry a connected door from one to the other."""
    sleep = ["sleep", "30"]
    with sandboxes.box(sleep, arena) as one, sandboxes.box(sleep, replace(arena, uid=arena.uid + 1)) as other:
        first, second = _mounts(one.pid()), _mounts(other.pid())
    writable = {where for where, read_only in first + second if not read_only}
    assert writable & {where for where, _ in first} & {where for where, _ in second} == set()
    assert len(writable) >= 6


def test_doors_can_not_be_taken_while_somebody_listens(sandboxes: DockerSandboxes, arena: Arena) -> None:
    listening = replace(arena, facts=arena.facts | {"open_doors": [328, 810]})
    probes = ["take-doors", "take-doors-by-connecting", "listeners"]
    argv = ["sh", "-c", 'sleep 2; exec "$@"', "sh", *probe_argv(listening, only=probes)]
    program = (
        "import socket, time\n"
        "held = [socket.create_server(('127.0.0.1', port)) for port in (328, 810)]\n"
        "print('held', flush=True)\n"
        "time.sleep(30)\n"
    )
    with sandboxes.box(argv, listening) as box:
        command = ["nsenter", "--net", f"--target={box.pid()}", "python3", "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            answers = told(box.ended(30.0))
            holder.kill()
    assert len(answers) == len(probes)
    # A connection to a door that is open is what it is for; everything else is refused.
    assert [str(each) for each in answers.values() if not each.contained] == []


def test_box_leaves_no_loop_device(sandboxes: DockerSandboxes, arena: Arena) -> None:
    """An unmounted disk holds no loop device: the kernel has few, and a deleted image keeps its space."""
    before = _loop_devices()
    run_probes(sandboxes, arena, only=["identity"])
    ends = time.monotonic() + 2
    while (left := _loop_devices() - before) and time.monotonic() < ends:
        time.sleep(0.05)
    assert left == set()


def _loop_devices() -> set[str]:
    """Backing files of the suite's own disks."""
    files = (each.read_text().strip() for each in Path("/sys/block").glob("loop*/loop/backing_file"))
    return {each for each in files if "/ele-escape-" in each}


def _wait_for(output: object, text: str) -> None:
    assert callable(output)
    ends = time.monotonic() + 20
    while text not in output():
        assert time.monotonic() < ends, output()
        time.sleep(0.1)


def _mounts(pid: int) -> list[tuple[tuple[int, int], bool]]:
    """(device and inode, read-only) of every mount with a file system of the host's."""
    found = []
    with Path(f"/proc/{pid}/mountinfo").open() as lines:
        for each in lines:
            fields, _, kind = each.partition(" - ")
            target, options = fields.split()[4], fields.split()[5].split(",")
            if kind.split()[0] in ("proc", "sysfs", "cgroup", "cgroup2", "devpts", "mqueue") or target.startswith(
                "/proc/"
            ):
                continue
            seen = Path(f"/proc/{pid}/root{target}").stat()
            found.append(((seen.st_dev, seen.st_ino), "ro" in options))
    return found
