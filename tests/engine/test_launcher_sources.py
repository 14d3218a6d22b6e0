"""Is a host path what its caller may read, and does the sandbox see that and nothing else?"""

from __future__ import annotations

import ctypes
import errno
import multiprocessing
import os
import socket
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from eleagent.errors import BadRequest, EleAgentError, Refused, Unavailable
from eleagent_daemon.domain import launch
from eleagent_daemon.domain.sandbox import DataMount
from eleagent_daemon.kernel.child import in_child
from eleagent_daemon.launcher.mounts import make_private, mount_source, unmount_all
from eleagent_daemon.launcher.places import Places
from eleagent_daemon.launcher.sources import Sources

from .launcher_bench import launcher_bench, output

pytestmark = pytest.mark.engine

CALLER = 23001
READER = 10001


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that the caller owns, below ones that anybody may pass through."""
    for parent in (tmp_path, *tmp_path.parents[:-1]):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    folder = tmp_path / "data"
    folder.mkdir()
    os.chown(folder, CALLER, CALLER)
    return folder


@pytest.fixture
def places(tmp_path: Path) -> Iterator[Places]:
    places = Places(tmp_path / "home" / "launcher")
    places.prepare()
    yield places
    unmount_all(places.root)


async def opened(sources: Sources, path: Path | str, *, uid: int = CALLER) -> launch.Source:
    verb = launch.OpenSource(path=str(path), uid=uid, gid=uid, groups=[], reader_uid=READER, forbidden=[])
    return await sources.open(verb)


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    (tmp_path / "home").mkdir(exist_ok=True)
    return Sources(own_folders=(tmp_path / "home",))


async def test_source_missing_path_is_a_bad_request(sources: Sources, folder: Path) -> None:
    with pytest.raises(BadRequest, match="no such path"):
        await opened(sources, folder / "nothing")
    with pytest.raises(BadRequest, match="not absolute"):
        await opened(sources, "relative")


async def test_source_is_opened_with_the_callers_rights(sources: Sources, folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    with pytest.raises(Refused, match=f"uid {CALLER}"):
        await opened(sources, secret)
    assert (await opened(sources, secret, uid=0)).inode == secret.stat().st_ino
    locked = folder / "locked"
    locked.mkdir(mode=0o700)
    with pytest.raises(Refused):
        await opened(sources, locked / "below")


async def test_source_named_through_a_link_is_what_the_caller_meant(sources: Sources, folder: Path) -> None:
    (folder / "release-2").mkdir()
    (folder / "latest").symlink_to("release-2")
    source = await opened(sources, folder / "latest")
    assert (source.is_dir, source.inode) == (True, (folder / "release-2").stat().st_ino)


@pytest.mark.parametrize("where", ["home", "home/launcher", "", ".."])
async def test_source_near_the_state_folder_is_refused(sources: Sources, tmp_path: Path, where: str) -> None:
    (tmp_path / "home" / "launcher").mkdir(parents=True, exist_ok=True)
    (tmp_path / "alias").symlink_to(tmp_path / where)
    for path in (tmp_path / where, tmp_path / "alias"):
        with pytest.raises(Refused, match="keeps for itself"):
            await opened(sources, path, uid=0)


async def test_source_devices_and_fifos_are_no_data(sources: Sources, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    for path in (folder / "fifo", Path("/dev/null")):
        with pytest.raises(BadRequest, match="neither a file nor a folder"):
            await opened(sources, path)


async def test_source_tells_what_is_unreadable_and_what_is_masked(sources: Sources, folder: Path) -> None:
    (folder / "open").write_text("x")
    (folder / "closed").write_text("x")
    (folder / "closed").chmod(0o640)
    (folder / "sub").mkdir()
    os.mkfifo(folder / "sub" / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "sock"))
    (folder / "not-the-callers").write_text("x")
    os.chown(folder / "not-the-callers", CALLER, CALLER)
    (folder / "not-the-callers").chmod(0o004)
    (folder / os.fsdecode(b"odd-\xff")).write_text("x")
    (folder / os.fsdecode(b"odd-\xff")).chmod(0o600)
    source = await opened(sources, folder)
    assert sorted(source.unreadable) == ["closed", "odd-\\xff"]
    assert source.unreadable_count == 2
    assert sorted(source.masked) == ["not-the-callers", "sock", "sub/fifo"]


@pytest.mark.parametrize("readers", [5, 4, 1, 0])
@pytest.mark.parametrize("callers", [5, 4, 1, 0])
async def test_source_what_the_sandbox_can_get_at_is_walked_or_masked(
    sources: Sources, folder: Path, callers: int, readers: int
) -> None:
    """The caller has its rights by the group, the sandbox's user as anybody. Names can be guessed."""
    sub = folder / "sub"
    sub.mkdir()
    (sub / "below").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(sub / "below" / "sock"))
    os.chown(sub, 0, CALLER)
    sub.chmod(0o700 | callers << 3 | readers)
    source = await opened(sources, folder)
    walked = ["sub/below/sock"] if readers else []
    assert source.masked == (walked if callers == 5 or not readers else ["sub"])
    assert source.unreadable == ([] if readers == 5 else ["sub"])


@pytest.mark.parametrize("readers", [4, 1, 0])
async def test_source_file_that_the_caller_cant_read_is_masked(sources: Sources, folder: Path, readers: int) -> None:
    (folder / "by-others").touch()
    os.chown(folder / "by-others", 0, CALLER)
    (folder / "by-others").chmod(0o600 | readers)
    (folder / "by-group").touch()
    os.chown(folder / "by-group", 0, READER)
    (folder / "by-group").chmod(0o600 | readers << 3)
    assert sorted((await opened(sources, folder)).masked) == (["by-group", "by-others"] if readers else [])


async def test_source_access_list_is_taken_for_a_right(sources: Sources, folder: Path) -> None:
    """The mode of these says that nobody else may do anything; their list gives the sandbox's user all."""
    everything = [
        (0x01, 7, -1),
        (0x02, 7, READER),
        (0x04, 0, -1),
        (0x10, 7, -1),
        (0x20, 0, -1),
    ]  # acl(5), linux/posix_acl.h
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in everything)
    for name in ("file", "sub"):
        (folder / name).mkdir() if name == "sub" else (folder / name).touch()
        os.setxattr(folder / name, "system.posix_acl_access", acl)
        assert (folder / name).stat().st_mode & 0o007 == 0
    assert sorted((await opened(sources, folder)).masked) == ["file", "sub"]


async def test_source_folder_that_the_sandboxs_user_cant_enter_is_said(sources: Sources, folder: Path) -> None:
    folder.chmod(0o700)
    assert (await opened(sources, folder)).unreadable == [str(folder)]


async def test_source_with_too_much_to_mask_is_named(sources: Sources, folder: Path) -> None:
    (folder / "sub").mkdir()
    for number in range(1001):
        os.mkfifo(folder / "sub" / str(number))
    with pytest.raises(BadRequest, match=f"{folder} has more than"):
        await opened(sources, folder)


async def test_source_that_holds_our_folders_is_refused_before_it_is_walked(
    sources: Sources, tmp_path: Path, folder: Path
) -> None:
    for number in range(1001):
        os.mkfifo(folder / str(number))
    for path in (tmp_path, "/"):
        with pytest.raises(Refused, match=f"^{path} is, holds or lies in {tmp_path}/home"):
            await opened(sources, path, uid=0)


@pytest.mark.parametrize("path", ["/proc", "/proc/1", "/proc/version", "/sys", "/sys/kernel", "/dev", "/dev/pts"])
async def test_source_that_is_the_kernels_own_is_refused(sources: Sources, path: str) -> None:
    with pytest.raises(Refused, match=f"^{path} is the kernel's own"):
        await opened(sources, path, uid=0)


async def test_source_is_bound_read_only_with_its_sockets_covered(
    sources: Sources, folder: Path, places: Places
) -> None:
    (folder / "file").write_text("content")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "sock"))
    source = await opened(sources, folder)
    held = sources.take(source.token, "s-abcdefghij", source.device, source.inode)
    target = places.root / "mnt" / "here"
    mount_source(held.fd, target, held.masked, places.covers)
    assert (target / "file").read_text() == "content"
    assert stat.S_ISREG((target / "sock").stat().st_mode)
    assert os.statvfs(target).f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV) == 7
    with pytest.raises(OSError, match="Read-only"):
        (target / "new").touch()


async def test_source_cover_follows_no_link_out(folder: Path, places: Places, tmp_path: Path) -> None:
    """A socket's folder that became a link to somewhere else after the scan covers nothing there."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "sock").write_text("precious")
    (folder / "sub").symlink_to(victim)
    fd = os.open(folder, os.O_RDONLY)
    with pytest.raises(OSError, match="symbolic links"):
        mount_source(fd, places.root / "mnt" / "here", [b"sub/sock"], places.covers)
    os.close(fd)
    assert (victim / "sock").read_text() == "precious"


async def test_child_names_the_path_of_what_failed(folder: Path) -> None:
    (folder / "file").touch()

    def by_name() -> tuple[None, list[int]]:
        return None, [os.open(folder / "nothing", os.O_RDONLY)]

    def by_descriptor() -> tuple[None, list[int]]:
        os.scandir(os.open(folder / "file", os.O_RDONLY))
        return None, []

    with pytest.raises(Unavailable, match=f"failed at {folder}/nothing: No such file"):
        await in_child(by_name, type(None))
    with pytest.raises(Unavailable, match=f"failed at {folder}/file: Not a directory"):
        await in_child(by_descriptor, type(None))


def _swap(one: str, other: str) -> None:
    """Exchange two names as fast as it goes, until killed."""
    libc = ctypes.CDLL(None)
    while True:
        libc.renameat2(-100, one.encode(), -100, other.encode(), 2)


async def test_source_swapped_under_the_launcher_never_mounts_anything_else(
    sources: Sources, folder: Path, places: Places, tmp_path: Path
) -> None:
    """The caller swaps the folder for a link to one that is root's alone; 200 times."""
    forbidden = tmp_path / "forbidden"
    forbidden.mkdir(mode=0o700)
    (forbidden / "secret").write_text("root's")
    named, link = folder / "named", folder / "link"
    named.mkdir()
    (named / "mine").write_text("mine")
    link.symlink_to(forbidden)
    swapper = multiprocessing.get_context("fork").Process(target=_swap, args=(str(named), str(link)), daemon=True)
    swapper.start()
    mounted = wrong = 0
    try:
        for number in range(200):
            try:
                source = await opened(sources, named)
            except EleAgentError:
                continue  # the link was there: the caller may not read what it leads to
            held = sources.take(source.token, f"s-{number}", source.device, source.inode)
            target = places.root / "mnt" / "here"

            def job(fd: int = held.fd, target: Path = target) -> tuple[None, list[int]]:
                mount_source(fd, target, [], places.covers)
                return None, []

            await in_child(job, type(None), keep=[held.fd])
            mounted += 1
            wrong += not (target / "mine").exists() or (target / "secret").exists()
            unmount_all(target)
            sources.drop(f"s-{number}")
    finally:
        swapper.kill()
        swapper.join()
    assert mounted > 20
    assert wrong == 0


async def test_source_is_what_the_sandbox_reads(folder: Path, tmp_path: Path, docker_socket: str) -> None:
    (folder / "report.csv").write_text("a,b\n1,2\n")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "engine.sock"))
    home = tmp_path / "bench"
    home.mkdir()
    async with launcher_bench(home, docker_socket) as bench:
        source = await bench.client.ask(
            launch.OpenSource(
                path=str(folder), uid=CALLER, gid=CALLER, groups=[], reader_uid=READER, forbidden=[str(home)]
            ),
            launch.Source,
        )
        mount = DataMount(source.token, str(folder), "/data/reports", source.device, source.inode)
        script = (
            "cat /data/reports/report.csv; wc -c < /data/reports/engine.sock; touch /data/reports/x || id -un; ls /data"
        )
        spec = bench.spec("sh", "-c", script, data=[mount])
        made = await bench.make(spec)
        report = await bench.attest(spec.session)
        assert report.complete, report.failures
        for fd in (await bench.open_doors(spec.session)).values():
            os.close(fd)
        await bench.release(spec.session)
        await bench.ended(spec.session)
        assert output(made) == b"a,b\n1,2\n0\nagent\nreports\n"
        await bench.remove(spec.session)
        assert bench.left() == {"containers": [], "mounts": [], "loops": [], "files": []}


async def test_source_socket_in_a_folder_that_hides_its_names_cant_be_connected_to(
    folder: Path, tmp_path: Path, docker_socket: str
) -> None:
    hall = folder / "hall"
    hall.mkdir()
    home = tmp_path / "bench"
    home.mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(hall / "sock"))
        sock.listen()
        (hall / "sock").chmod(0o777)
        os.chown(hall, CALLER, CALLER)
        hall.chmod(0o711)
        async with launcher_bench(home, docker_socket) as bench:
            source = await bench.client.ask(
                launch.OpenSource(
                    path=str(folder), uid=CALLER, gid=CALLER, groups=[], reader_uid=READER, forbidden=[str(home)]
                ),
                launch.Source,
            )
            mount = DataMount(source.token, str(folder), "/data", source.device, source.inode)
            program = "import socket; print(socket.socket(socket.AF_UNIX).connect_ex('/data/hall/sock'))"
            spec = bench.spec("python3", "-c", program, data=[mount])
            made = await bench.make(spec)
            await bench.attest(spec.session)
            for fd in (await bench.open_doors(spec.session)).values():
                os.close(fd)
            await bench.release(spec.session)
            await bench.ended(spec.session)
            assert output(made) == f"{errno.EACCES}\n".encode()
            await bench.remove(spec.session)


async def test_mounts_private_folder_is_bound_once(tmp_path: Path) -> None:
    for _ in range(2):
        make_private(tmp_path / "mnt")
    lines = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {tmp_path}/mnt " in line]
    unmount_all(tmp_path / "mnt")
    assert len(lines) == 1
    assert "shared:" not in lines[0]
