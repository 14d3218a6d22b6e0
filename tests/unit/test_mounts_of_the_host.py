"""Which mounts may a sandbox have whose root is made of the host's own folders?"""

from __future__ import annotations

import pytest

from eleagent_daemon.domain.evidence import MountPoint
from eleagent_daemon.domain.mounts import unexpected

RO = ("ro", "nosuid", "nodev", "relatime")
RW = ("rw", "nosuid", "nodev", "relatime")


def mount(target: str, options: tuple[str, ...] = RO, fstype: str = "ext4") -> MountPoint:
    return MountPoint(target, fstype, "/dev/vda", options, (), 1, 2)


@pytest.mark.parametrize(
    "allowed",
    [
        mount("/usr"),
        mount("/usr/local"),
        mount("/lib64"),
        mount("/etc/ssl/certs"),
        mount("/opt/agent/claude"),
        mount("/proc", ("rw", "nosuid", "nodev", "noexec"), "proc"),
        mount("/proc/sys", RO, "proc"),
        mount("/proc/acpi", RO, "tmpfs"),
        mount("/dev", RO, "tmpfs"),
        mount("/dev/null", ("rw", "nosuid"), "devtmpfs"),
        mount("/tmp", (*RW, "noexec"), "tmpfs"),
    ],
    ids=lambda each: each.target,
)
def test_mounts_of_the_host_that_programs_need(allowed: MountPoint) -> None:
    assert list(unexpected({}, [allowed], shows_host=True)) == []


@pytest.mark.parametrize(
    "strange",
    [
        mount("/usr", RW),
        mount("/usr", ("ro", "nodev")),
        mount("/usrlocal"),
        mount("/etc"),
        mount("/etc/shadow"),
        mount("/etc/ssl"),
        mount("/etc/ssl/private"),
        mount("/home"),
        mount("/root"),
        mount("/var/lib"),
        mount("/run/docker.sock"),
        mount("/sys", RO, "sysfs"),
        mount("/sys/fs/cgroup", RO, "cgroup2"),
        mount("/proc/sys", RW, "proc"),
        mount("/dev/sda", ("rw", "nosuid"), "devtmpfs"),
        mount("/dev", RW, "tmpfs"),
        mount("/dev/mqueue", ("rw", "nosuid", "nodev", "noexec"), "mqueue"),
        mount("/usr/sbin/docker-init/../..", RW),
    ],
    ids=lambda each: each.target,
)
def test_mounts_of_the_host_that_nobody_asked_for(strange: MountPoint) -> None:
    assert len(list(unexpected({}, [strange], shows_host=True))) == 1


def test_mount_that_a_later_one_covers_can_not_be_got_at() -> None:
    below = mount("/proc/sys/fs/binfmt_misc", RW, "autofs")
    cover = mount("/proc/sys/fs/binfmt_misc", RO, "tmpfs")
    assert list(unexpected({}, [below, cover], shows_host=True)) == []
    assert len(list(unexpected({}, [cover, below], shows_host=True))) == 1
