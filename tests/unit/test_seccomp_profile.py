from __future__ import annotations

import json

import pytest

from eleagent_daemon.domain import seccomp
from eleagent_daemon.domain.bpf import AUDIT_ARCH_I386, INSTRUCTION, RET_ALLOW, X32_BIT, Call

PROFILE = seccomp.load()
HIGH = 1 << 32

NEVER = """
io_uring_setup io_uring_enter io_uring_register bpf perf_event_open keyctl add_key request_key userfaultfd
open_by_handle_at name_to_handle_at process_vm_readv process_vm_writev ptrace mount umount2 pivot_root
open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr unshare setns init_module finit_module
delete_module kexec_load kexec_file_load reboot swapon swapoff acct quotactl quotactl_fd clock_settime
clock_adjtime settimeofday kcmp pidfd_getfd vmsplice lookup_dcookie nfsservctl iopl ioperm modify_ldt
fanotify_init syslog sethostname setdomainname chroot clone3 process_madvise
"""
NEEDED = """
futex epoll_pwait2 inotify_add_watch memfd_create copy_file_range statx rseq landlock_restrict_self membarrier
sched_setaffinity getrandom pidfd_open pidfd_send_signal execveat prlimit64 openat2 close_range
"""


def _allows(name: str, *args: int) -> bool:
    return PROFILE.allows(Call(PROFILE.numbers[name], args))


@pytest.mark.parametrize("name", NEVER.split())
def test_profile_denies_whatever_its_arguments(name: str) -> None:
    assert not _allows(name)
    assert not _allows(name, *((1 << 64) - 1,) * 6)


@pytest.mark.parametrize("name", NEEDED.split())
def test_profile_allows_what_runtimes_need(name: str) -> None:
    assert _allows(name)


@pytest.mark.parametrize(
    ("call", "allowed"),
    [
        (("clone", 0x3D0F00), True),
        (("clone", 0x10000011), False),
        (("clone", 0x3D0F00 | 0x40000000), False),
        (("socket", 1, 0x80801, 0), True),
        (("socket", 2, 1, 6), True),
        (("socket", 10, 0x80002, 17), True),
        (("socket", 16, 0x80003, 0), True),
        (("socket", 16, 3, 9), False),
        (("socket", 2, 3, 1), False),
        (("socket", 2, 1, 132), False),
        (("socket", 17, 3, 0), False),
        (("socket", 38, 5, 0), False),
        (("socket", 40, 1, 0), False),
        (("socket", 2 | HIGH, 1, 6), False),
        (("socket", 2, 1 | HIGH, 6), False),
        (("socket", 2, 1, 6 | HIGH), False),
        (("socketpair", 1, 1, 0), True),
        (("socketpair", 2, 1, 0), False),
        (("personality", 0xFFFFFFFF), True),
        (("personality", 0x40000), False),
        (("mknodat", 0, 0, 0o010644), True),
        (("mknodat", 0, 0, 0o020644), False),
        (("mknod", 0, 0o060644), False),
        (("ioctl", 0, 0x5401), True),
        (("ioctl", 0, 0x5412), False),
        (("ioctl", 0, 0x5412 | HIGH), False),
        (("ioctl", 0, 0xFFFFFFFF_0000541C), False),
        (("ioctl", 0, 0x5413), True),
    ],
)
def test_profile_judges_arguments(call: tuple[str, int], allowed: bool) -> None:
    assert _allows(*call) is allowed


def test_profile_denies_other_architectures_and_x32() -> None:
    read = PROFILE.numbers["read"]
    assert PROFILE.allows(Call(read))
    assert not PROFILE.allows(Call(read, arch=AUDIT_ARCH_I386))
    assert not PROFILE.allows(Call(read | X32_BIT))


def test_oci_text_has_no_rule_with_two_conditions_on_one_argument() -> None:
    rules = [rule.get("args", []) for rule in json.loads(PROFILE.oci)["syscalls"]]
    assert any(len(rule) == 3 for rule in rules)
    assert all(len({part["index"] for part in rule}) == len(rule) for rule in rules)


def test_oci_text_denies_by_default_for_one_architecture() -> None:
    document = json.loads(PROFILE.oci)
    assert document["defaultAction"] == "SCMP_ACT_ERRNO"
    assert document["architectures"] == ["SCMP_ARCH_X86_64"]
    assert {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38} in document["syscalls"]


def _damaged(**changes: object) -> bytes:
    document = {
        "about": "",
        "architecture": {"oci": "SCMP_ARCH_X86_64", "audit": "0xc000003e"},
        "numbers": {"0": ["read write"], "41": ["socket"]},
        "allow": {"all": ["read"]},
        "errno": {},
        "when": {"socket": {"one": ["0 == 1"]}},
        "except": {},
    }
    return json.dumps(document | changes).encode()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"allow": {"all": ["read raed"]}}, "raed"),
        ({"allow": {"all": ["read socket"]}}, "socket"),
        ({"when": {"socket": {"one": ["0 == 1", "0 & 0x1 == 1"]}}}, "two conditions"),
        ({"when": {"socket": {"one": ["0 != 1"]}}}, "0 != 1"),
        ({"more": {}}, "more"),
    ],
)
def test_parse_refuses_a_damaged_profile(changes: dict[str, object], named: str) -> None:
    assert seccomp.parse(_damaged()).allows(Call(0))
    with pytest.raises(ValueError, match=named):
        seccomp.parse(_damaged(**changes))


def _filter(*instructions: tuple[int, int, int, int]) -> bytes:
    return b"".join(INSTRUCTION.pack(*instruction) for instruction in instructions)


DENY_ALL = _filter((0x06, 0, 0, 0x50001))
ALLOW_ALL = _filter((0x06, 0, 0, RET_ALLOW))
DENY_READ_ALONE = _filter((0x20, 0, 0, 0), (0x15, 0, 1, 0), (0x06, 0, 0, 0x50001), (0x06, 0, 0, RET_ALLOW))


def test_differences_are_what_a_filter_lets_pass_too_much() -> None:
    found = seccomp.differences((DENY_READ_ALONE,), PROFILE)
    assert any(line.startswith("bpf 321:") for line in found)
    assert any(line.startswith("socket 41:") for line in found)
    assert any(line.startswith("i386 system call") for line in found)
    assert not any(line.startswith(("write ", "read ")) for line in found)


def test_differences_take_all_filters_together() -> None:
    assert seccomp.differences((ALLOW_ALL, DENY_ALL), PROFILE) == ()


def test_differences_without_a_filter_are_everything_that_is_denied() -> None:
    assert len(seccomp.differences((), PROFILE)) == len(seccomp.differences((ALLOW_ALL,), PROFILE)) > 600


@pytest.mark.parametrize("mask", [1 << 32, 1 << 63, 0x10])
def test_probes_reach_a_filter_that_would_ignore_a_bit_of_an_argument(mask: int) -> None:
    lenient = [
        call
        for call in PROFILE.probes()
        if call.nr == PROFILE.numbers["socket"]
        and not PROFILE.allows(call)
        and PROFILE.allows(call._replace(args=(call.args[0] & ~mask, *call.args[1:])))
    ]
    assert lenient
