"""What can a process in the sandbox write, run or find in the file system?"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from registry import Given, attempt, findings, probe, together
from syscalls import call

WRITABLE = ("/workspace", "/artefacts", "/home/agent")
TEMPORARY = ("/tmp", "/run", "/dev/shm")
PSEUDO = ("/proc", "/sys")
READ_ONLY = ("/data/", "/usr/", "/etc/", "/opt/")


def mounts() -> list[tuple[str, str, str, str, str]]:
    """(target, device, options, kind, optional fields) as the kernel says."""
    found = []
    for each in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = each.partition(" - ")
        fields = before.split()
        found.append((fields[4], fields[2], fields[5] + "," + after.split()[2], after.split()[0], " ".join(fields[6:])))
    return found


def everything() -> Iterator[str]:
    for folder, folders, names in os.walk("/"):
        if folder in PSEUDO or (folder == "/usr" and os.path.ismount(folder)):  # the host's own, as everybody sees it
            folders[:] = []
            continue
        yield from (os.path.join(folder, each) for each in (*folders, *names))


@probe("write-system", expects="EROFS")
def write_system(given: Given) -> str:
    paths = ("/escape", "/etc/escape", "/usr/bin/escape", "/etc/passwd", "/root/escape", "/home/escape", "/lib/escape")
    paths = tuple(each for each in paths if os.path.isdir(os.path.dirname(each)))
    found = {each: attempt(lambda each=each: os.close(os.open(each, os.O_CREAT | os.O_WRONLY))) for each in paths}
    return together({path: "EROFS" if word == "EACCES" and _read_only("/") else word for path, word in found.items()})


def _read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


@probe("write-anywhere", expects="none")
def write_anywhere(given: Given) -> str:
    """No folder is writable but those that are meant to be."""
    meant = (*WRITABLE, *TEMPORARY, "/proc", "/sys", "/dev")
    found = []
    for folder, folders, _ in os.walk("/"):
        folders[:] = [each for each in folders if os.path.join(folder, each) not in meant]
        if os.access(folder, os.W_OK):
            found.append(folder)
    return findings(found)


@probe("write-devices-folder", expects="EROFS EACCES")
def write_devices_folder(given: Given) -> str:
    """What stands in /dev is looked for by programs that trust it."""
    return attempt(lambda: os.close(os.open("/dev/escape", os.O_CREAT | os.O_WRONLY)))


@probe("write-data", expects="EROFS none")
def write_data(given: Given) -> str:
    found = {}
    for folder, _, names in os.walk("/data"):
        found[folder] = attempt(os.mkdir, os.path.join(folder, "escape"))
        for name in names[:5]:
            path = os.path.join(folder, name)
            found[path] = attempt(lambda path=path: os.close(os.open(path, os.O_WRONLY)))
    return together(found) if found else "none"


@probe("change-data", expects="EROFS")
def change_data(given: Given) -> str:
    inside = next(iter(Path("/data").rglob("*.py")))
    return together({
        "unlink": attempt(inside.unlink),
        "rename": attempt(inside.rename, inside.with_suffix(".gone")),
        "chmod": attempt(os.chmod, inside, 0o777),
        "utime": attempt(os.utime, inside),
        "link": attempt(os.link, inside, inside.with_suffix(".link")),
        "xattr": attempt(os.setxattr, inside, "user.escape", b"x"),
    })  # fmt: skip


@probe("link-data-out", expects="EXDEV EPERM EROFS")
def link_data_out(given: Given) -> str:
    """A hard link would make read-only data writable under another name."""
    inside = next(iter(Path("/data").rglob("*.py")))
    return attempt(os.link, inside, "/workspace/escape-link")


@probe("mount-flags", expects="none")
def mount_flags(given: Given) -> str:
    """Nothing writable may hold devices or setuid programs, nothing temporary may hold programs at all."""
    found = []
    for target, _, options, kind, _ in mounts():
        flags = set(options.split(","))
        if target == "/" or f"{target}/".startswith(READ_ONLY):
            needed = {"ro"}
        elif "ro" in flags:
            needed = set()
        elif target == "/dev" or target.startswith(PSEUDO) or kind == "devtmpfs":
            needed = {"nosuid"}
        elif kind in ("tmpfs", "mqueue", "devpts"):
            needed = {"nosuid", "noexec"} | ({"nodev"} if kind != "devpts" else set())
        else:
            needed = {"nosuid", "nodev"}
        found += [f"{target} without {each}" for each in sorted(needed - flags)]
    return findings(found)


@probe("mount-propagation", expects="none")
def mount_propagation(given: Given) -> str:
    """No mount passes on to the host, and of the host's new ones none comes in; an engine lets its own root follow."""
    found = [(target, more) for target, _, _, _, more in mounts()]
    return findings(
        f"{target} {more}" for target, more in found if "shared:" in more or ("master:" in more and target != "/")
    )


@probe("mount-list", expects="none")
def mount_list(given: Given) -> str:
    """An engine adds its init and three files of /etc, and where there is none the host's programs and the few settings
    that they need are shown; everything else was asked for."""
    single = ("/", *(f"/etc/{each}" for each in ("resolv.conf", "hostname", "hosts", "passwd", "group", "localtime")))
    shown = ("alternatives", "ca-certificates", "crypto-policies", "ld.so.cache", "ld.so.conf", "ld.so.conf.d")
    shown += ("mime.types", "pki/ca-trust", "pki/tls/certs", "ssl/certs", "ssl/openssl.cnf")
    tops = (*WRITABLE, *TEMPORARY, *PSEUDO, "/data", "/dev", "/opt/agent", "/usr", *(f"/etc/{each}" for each in shown))
    return findings(
        target
        for target, *_ in mounts()
        if target not in single
        and not target.endswith("-init")
        and not any(f"{target}/".startswith(f"{top}/") for top in tops)
    )


@probe("mount-writable-twice", expects="none")
def mount_writable_twice(given: Given) -> str:
    """What is writable on one of the host's file systems must not be the file system of anything else in here."""
    real = [
        (target, device) for target, device, _, kind, _ in mounts() if kind not in ("tmpfs", "proc", "sysfs", "mqueue")
    ]
    own = {device for target, device in real if target in WRITABLE}
    return findings(f"{target} on {device}" for target, device in real if device in own and target not in WRITABLE)


@probe("run-from-temporary", expects="EACCES")
def run_from_temporary(given: Given) -> str:
    def start(folder: str) -> None:
        copy = os.path.join(folder, "escape-true")
        shutil.copy("/bin/true", copy)
        os.chmod(copy, 0o755)
        try:
            subprocess.run([copy], check=True)
        finally:
            os.unlink(copy)

    return together({folder: attempt(start, folder) for folder in TEMPORARY})


@probe("map-from-temporary", expects="EPERM")
def map_from_temporary(given: Given) -> str:
    """The loader maps a library: noexec must stop that too."""
    import mmap

    def load(folder: str) -> None:
        copy = os.path.join(folder, "escape-library")
        shutil.copy("/bin/true", copy)
        with open(copy, "rb") as file:
            os.unlink(copy)
            mmap.mmap(file.fileno(), 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC).close()

    return together({folder: attempt(load, folder) for folder in TEMPORARY})


@probe("make-setuid", expects="none EPERM EINVAL")
def make_setuid(given: Given) -> str:
    """A setuid program that is left behind must not belong to somebody else, and must not work on its mount."""
    copy = "/workspace/escape-setuid"
    shutil.copy("/bin/true", copy)
    try:
        os.chmod(copy, 0o6755)
        owner = attempt(os.chown, copy, 0, 0)
        nosuid = os.statvfs(copy).f_flag & os.ST_NOSUID
        return owner if nosuid or owner == "done" else f"found: {os.stat(copy).st_mode:o} on a mount that allows setuid"
    finally:
        os.unlink(copy)


@probe("make-device", expects="EPERM")
def make_device(given: Given) -> str:
    """Disks, memory and the kernel's log, by their numbers."""
    numbers = {"disk": (8, 0), "virtual disk": (254, 0), "mem": (1, 1), "kmsg": (1, 11), "loop": (7, 0)}

    def make(device: int) -> None:
        call("mknod", b"/workspace/escape-device", stat.S_IFBLK | 0o600, device)
        Path("/workspace/escape-device").unlink()

    return together({name: attempt(make, os.makedev(*each)) for name, each in numbers.items()})


@probe("engine-sockets", expects="none")
def engine_sockets(given: Given) -> str:
    found = []
    for path in everything():
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode):
                found.append(path)
        except OSError:
            continue
    return findings(found)


@probe("known-sockets", expects="ENOENT EACCES")
def known_sockets(given: Given) -> str:
    """By name too: a folder that can't be listed may still be entered."""
    names = (
        "docker.sock", "containerd/containerd.sock", "podman/podman.sock", "crio/crio.sock", "eleagent/eleagent.sock",
        "eleagent/launcher.sock", "docker/containerd/containerd.sock", "dbus/system_bus_socket", "systemd/private",
        "systemd/notify", "buildkit/buildkitd.sock",
    )  # fmt: skip
    return together({each: attempt(os.lstat, f"/run/{each}") for each in names})


@probe("foreign-files", expects="ENOENT EACCES")
def foreign_files(given: Given) -> str:
    """Paths of other sessions and of the daemon's own state, as the outside named them."""
    usual = [
        "/var/lib/eleagent",
        "/var/lib/docker/overlay2",
        "/artefacts/../artefacts/sessions",
        "/home/agent/../other",
    ]
    return together({each: attempt(os.stat, each) for each in (*usual, *given.foreign_paths)})


@probe("climb-out", expects="none")
def climb_out(given: Given) -> str:
    os.chdir("/workspace")
    for _ in range(64):
        os.chdir("..")
    here, root = os.stat("."), os.stat("/")
    found = [] if (here.st_dev, here.st_ino) == (root.st_dev, root.st_ino) else ["a folder above the root"]
    found += [
        each for each in ("/.dockerenv/..", "//..", "/proc/self/cwd/..") if os.path.exists(f"{each}/boot/vmlinuz")
    ]
    return findings(found)


@probe("canaries-in-files", expects="none")
def canaries_in_files(given: Given) -> str:
    """The outside put words into its own surroundings that must not be in any file here."""
    words = given.canary_words()
    tops = (
        "/etc",
        "/home",
        "/root",
        "/run",
        "/tmp",
        "/workspace",
        "/artefacts",
        "/dev/shm",
        "/opt",
        "/var",
        "/srv",
        "/mnt",
    )
    found = []
    for top in tops:
        for folder, _, names in os.walk(top):
            for path in (os.path.join(folder, each) for each in names):
                if os.path.isfile(path) and os.access(path, os.R_OK) and os.path.getsize(path) < 1 << 20:
                    content = Path(path).read_bytes()
                    found += [path for word in words if word in content]
    return findings(found)
