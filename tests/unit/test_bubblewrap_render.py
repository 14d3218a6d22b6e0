from __future__ import annotations

import pytest

from eleagent_daemon.domain.root import LINKS, SETTINGS
from eleagent_daemon.domain.sandbox import Doors, Limits, Person, Placement, SandboxSpec
from eleagent_daemon.runtime.bubblewrap_render import Flag, Host, Rendering, arguments, render

SPEC = SandboxSpec(
    session="s-aaaaaaaaaa",
    installation="i",
    attempt=2,
    image="sha256:abc",
    argv=("prog", "a b"),
    env={"HOME": "/home/agent", "X": "1=2"},
    uid=10007,
    stdin=True,
    doors=Doors(),
    limits=Limits(pids=99, nofile=123, tmp_bytes=1 << 20, run_bytes=2 << 20),
)
HOST = Host(
    links={"/bin": "usr/bin"},
    trees=("/usr", "/lib32"),
    settings=("/etc/ssl/certs",),
    masked={"/proc/acpi": True, "/proc/kcore": False},
    readonly=("/proc/sys",),
)
PLACEMENT = Placement({"/workspace": "/m/w"}, {"/data": "/m/d"}, terminals="/m/pts")
PERSON = Placement({"/workspace": "/m/w"}, {"/data": "/m/d"}, person=Person(1000, 1001))


def rendered(placement: Placement = PLACEMENT, *, counted: bool = True) -> Rendering:
    return render(SPEC, placement, binary={"/opt/agent/claude": "/a"}, host=HOST, counted=counted)


def at(target: str, rendering: Rendering) -> Flag:
    """The one mount at `target`, with its source as it was placed."""
    (flag,) = (flag for flag in rendering.flags if flag[-1] == target and "bind" in flag[0])
    return flag[0], rendering.binds.get(flag[1], flag[1])


def test_render_shows_of_the_host_what_programs_need_and_nothing_writable() -> None:
    found = rendered()
    assert at("/usr", found) == ("--ro-bind", "/usr")
    assert at("/lib32", found) == ("--ro-bind", "/lib32")
    assert at("/etc/ssl/certs", found) == ("--ro-bind", "/etc/ssl/certs")
    assert ("--symlink", "usr/bin", "/bin") in found.flags
    assert [flag[-1] for flag in found.flags if flag[0] == "--bind"] == ["/dev/shm", "/tmp", "/run", "/workspace"]


@pytest.mark.parametrize(
    "private", ["/root", "/home", "/var", "/run", "/etc/shadow", "/etc/passwd", "/etc", "/", "/boot"]
)
def test_root_holds_nothing_private(private: str) -> None:
    assert private not in (*SETTINGS, "/usr", *(f"/{name}" for name in LINKS))


def test_render_binds_what_was_placed() -> None:
    found = rendered()
    assert at("/workspace", found) == ("--bind", "/m/w")
    assert at("/data", found) == ("--ro-bind", "/m/d")
    assert at("/opt/agent/claude", found) == ("--ro-bind", "/a")
    assert at("/dev/pts", found) == ("--dev-bind", "/m/pts")
    assert found.terminals == ""


def test_render_asks_for_every_confinement_by_name() -> None:
    flags = rendered().flags
    for name in ("user", "ipc", "pid", "net", "uts", "cgroup-try"):
        assert (f"--unshare-{name}",) in flags
    for flag in (("--cap-drop", "ALL"), ("--die-with-parent",), ("--new-session",), ("--remount-ro", "/"),
                 ("--remount-ro", "/dev"), ("--uid", "10007"), ("--gid", "10007")):  # fmt: skip
        assert flag in flags
    assert flags.index(("--remount-ro", "/")) > max(at for at, flag in enumerate(flags) if "bind" in flag[0])


def test_render_masks_what_tells_of_the_host() -> None:
    flags = rendered().flags
    assert ("--ro-bind", "/run/folder", "/proc/acpi") in flags
    assert ("--ro-bind", "/run/file", "/proc/kcore") in flags
    assert ("--ro-bind", "/proc/sys", "/proc/sys") in flags
    assert not [flag for flag in flags if flag[-1].startswith("/sys")]


def test_render_limits_what_is_temporary() -> None:
    found = rendered(PERSON)
    for place, size in (("/run/tmp", 1 << 20), ("/run/run", 2 << 20)):
        assert f"size={size}" in found.temporary[place].split(",")
        assert "noexec" in found.temporary[place].split(",")
    assert {"uid=1000", "gid=1001"} <= set(found.temporary["/run/run"].split(","))
    assert found.terminals == "/run/pts"


@pytest.mark.parametrize("counted", [True, False])
def test_render_limits_processes_where_no_control_group_does(counted: bool) -> None:
    limits = rendered(counted=counted).limits
    assert limits == {"nofile": 123, "core": 0} | ({} if counted else {"nproc": 99})


def test_arguments_keep_every_byte_of_the_environment() -> None:
    data = arguments((("--setenv", "X", "a b\n--bind"), ("--chdir", "/w\udcff")))
    assert data == b"--setenv\0X\0a b\n--bind\0--chdir\0/w\xff\0"
