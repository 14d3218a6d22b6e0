"""What do /proc, /sys and /dev give away, and what do they let themselves be told?"""

from __future__ import annotations

import os
from pathlib import Path

from registry import Given, attempt, findings, probe, together

STANDARD = {
    "null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd", "stdin", "stdout",
    "stderr", "core",
}  # fmt: skip
KEPT = "EROFS EACCES EPERM ENOENT"


def _write(path: str) -> str:
    def write() -> None:
        handle = os.open(path, os.O_WRONLY)
        try:
            os.write(handle, b"0")
        finally:
            os.close(handle)

    return attempt(write)


def _read(path: str) -> str:
    """`empty` also for what is there without a byte (a masked file)."""
    try:
        with open(path, "rb") as file:
            return "read" if file.read(64) else "empty"
    except OSError:
        return "refused"


@probe("proc-writes", expects=KEPT)
def proc_writes(given: Given) -> str:
    """Where root owns the file its mode answers first; `proc-read-only` asks for the mount below it."""
    names = (
        "sys/kernel/core_pattern", "sysrq-trigger", "sys/kernel/modprobe", "sys/kernel/hostname", "sys/vm/panic_on_oom",
        "sys/fs/binfmt_misc/register", "sys/net/ipv4/ip_forward", "irq/default_smp_affinity", "mtrr",
    )  # fmt: skip
    return together({each: _write(f"/proc/{each}") for each in names})


@probe("proc-read-only", expects="none")
def proc_read_only(given: Given) -> str:
    names = ("sys", "sysrq-trigger", "irq", "bus", "fs")
    return findings(each for each in names if os.path.exists(f"/proc/{each}") and not _read_only(f"/proc/{each}"))


def _read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@probe("proc-secrets", expects="empty refused")
def proc_secrets(given: Given) -> str:
    names = ("kcore", "keys", "latency_stats", "timer_list", "timer_stats", "sched_debug", "kmsg", "kpagecount")
    return together({each: _read(f"/proc/{each}") for each in names})


@probe("proc-masked", expects="none")
def proc_masked(given: Given) -> str:
    """Masked by a mount, not by the mode alone."""
    mounted = {each.split()[4] for each in Path("/proc/self/mountinfo").read_text().splitlines()}
    paths = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/proc/acpi", "/sys/firmware")
    return findings(each for each in paths if os.path.exists(each) and each not in mounted)


@probe("lower-oom-score", expects="EACCES EPERM")
def lower_oom_score(given: Given) -> str:
    """Below 0 the host's own processes would be ended first. Down to 0 the kernel allows it to everybody."""
    path = Path("/proc/self/oom_score_adj")
    return together({each: attempt(path.write_text, each) for each in ("-1", "-1000")})


@probe("sys-writes", expects=KEPT)
def sys_writes(given: Given) -> str:
    names = ("kernel/uevent_helper", "power/state", "kernel/mm/ksm/run", "module", "block", "kernel/kexec_loaded")
    tried = {each: _write(f"/sys/{each}") for each in names if not os.path.isdir(f"/sys/{each}")}
    return together(tried)


@probe("sys-read-only", expects="none")
def sys_read_only(given: Given) -> str:
    return findings([] if not os.path.ismount("/sys") or _read_only("/sys") else ["/sys is writable"])


@probe("firmware", expects="none")
def firmware(given: Given) -> str:
    try:
        return findings(os.listdir("/sys/firmware"))
    except OSError:
        return "none"


@probe("cgroup-writes", expects="none")
def cgroup_writes(given: Given) -> str:
    """release_agent runs a program of the host's as root; the others would lift the limits."""
    names = {"release_agent", "notify_on_release", "cgroup.procs", "tasks", "memory.max", "pids.max", "cpu.max"}
    names |= {"memory.limit_in_bytes", "cpu.cfs_quota_us", "devices.allow", "cgroup.subtree_control"}
    found = []
    for folder, _, files in os.walk("/sys/fs/cgroup"):
        if os.access(folder, os.W_OK):
            found.append(folder)
        found += [f"{folder}/{each}" for each in files if each in names and _write_open(f"{folder}/{each}")]
    return findings(found)


def _write_open(path: str) -> bool:
    return attempt(lambda: os.close(os.open(path, os.O_WRONLY))) == "done"


@probe("cgroup-read-only", expects="none")
def cgroup_read_only(given: Given) -> str:
    targets = (each.split() for each in Path("/proc/self/mountinfo").read_text().splitlines())
    return findings(
        each[4] for each in targets if each[4].startswith("/sys/fs/cgroup/") and "ro" not in each[5].split(",")
    )


@probe("cgroup-path", expects="none")
def cgroup_path(given: Given) -> str:
    """A cgroup namespace of its own shows no path of the host's."""
    paths = {each.split(":", 2)[2] for each in Path("/proc/self/cgroup").read_text().splitlines()}
    return findings(paths - {"/"})


@probe("swap-limit", expects="none")
def swap_limit(given: Given) -> str:
    """With swap the limit of memory would be another. A kernel that does not count swap shows neither file."""
    old = Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
    new = Path("/sys/fs/cgroup/memory.swap.max")
    found = []
    if old.exists() and int(old.read_text()) > given.memory_bytes:
        found.append(f"memory and swap {old.read_text().strip()}")
    if new.exists() and new.read_text().strip() != "0":
        found.append(f"swap {new.read_text().strip()}")
    return findings(found)


@probe("oom-score", expects="none")
def oom_score(given: Given) -> str:
    """When the host runs out of memory a sandbox ends before anything else does."""
    score = int(Path("/proc/1/oom_score_adj").read_text())
    return findings([] if score >= 500 else [score])


@probe("device-nodes", expects="none")
def device_nodes(given: Given) -> str:
    return findings(each for each in os.listdir("/dev") if each not in STANDARD)


@probe("device-disks", expects="ENOENT EPERM EACCES")
def device_disks(given: Given) -> str:
    names = (
        "sda",
        "vda",
        "nvme0n1",
        "dm-0",
        "loop0",
        "loop-control",
        "mem",
        "kmsg",
        "fuse",
        "kvm",
        "net/tun",
        "vsock",
        "vhost-vsock",
    )
    return together({each: attempt(os.open, f"/dev/{each}", os.O_RDONLY) for each in names})


@probe("system-v-ipc", expects="none")
def system_v_ipc(given: Given) -> str:
    """Segments and queues belong to an IPC namespace: in one of our own there are none."""
    return findings(
        f"{each} {line.split()[1]}" for each in ("shm", "sem", "msg")
        for line in Path(f"/proc/sysvipc/{each}").read_text().splitlines()[1:]
    )  # fmt: skip


@probe("host-name", expects="none")
def host_name(given: Given) -> str:
    name = os.uname().nodename
    return findings(each for each in given.host_words if each == name)
