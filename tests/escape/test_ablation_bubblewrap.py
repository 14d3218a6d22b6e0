"""Is every flag that bubblewrap is given a wall, seen by at least one probe? As in test_ablation, for this runtime."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from eleagent.errors import IsolationFailed
from eleagent_daemon.domain.sandbox import Placement
from eleagent_daemon.runtime.bubblewrap_render import STAGE, Flag, Host, Rendering, render

from .harness import Arena, BubblewrapSandboxes, run_probes
from .test_ablation import host_segment

__all__ = ["host_segment"]

pytestmark = [
    pytest.mark.bubblewrap,
    pytest.mark.skipif(os.getuid() != 0, reason="what a person lacks root has too, and the flags are the same"),
]

Change = Callable[[Rendering], Rendering]


@dataclass(frozen=True)
class Ablation:
    """`flags` are the beginnings of the rendered ones that `change` takes away; without them each of `red` must report
    an escape, or, where `red` is empty, the sandbox does not come to its gate."""

    flags: tuple[str, ...]
    change: Change
    red: tuple[str, ...]
    detail: str = ""
    without: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        return "-".join(filter(None, (self.flags[0].lstrip("-").replace("/", "_"), self.detail)))


def _text(flag: Flag) -> str:
    return " ".join(flag)


def _begins(flag: Flag, starts: tuple[str, ...]) -> bool:
    return any(f"{_text(flag)} ".startswith(f"{start} ") for start in starts)


def _instead(*starts: str, give: Callable[[Flag], tuple[Flag, ...]] = lambda flag: ()) -> Change:
    """The flags that begin so are replaced by what `give` makes of them."""

    def change(rendering: Rendering) -> Rendering:
        assert any(_begins(flag, starts) for flag in rendering.flags), starts
        flags = (new for flag in rendering.flags for new in (give(flag) if _begins(flag, starts) else (flag,)))
        return replace(rendering, flags=tuple(flags))

    return change


def _writable(flag: Flag) -> tuple[Flag, ...]:
    return (("--bind", *flag[1:]),)


def _to(target: str) -> Change:
    """The read-only mount at `target` made writable."""

    def change(rendering: Rendering) -> Rendering:
        flags = [
            ("--bind", *flag[1:]) if flag[0] == "--ro-bind" and flag[2] == target else flag for flag in rendering.flags
        ]
        assert tuple(flags) != rendering.flags
        return replace(rendering, flags=tuple(flags))

    return change


def _without_masks(below: tuple[str, ...]) -> Change:
    def change(rendering: Rendering) -> Rendering:
        kept = [flag for flag in rendering.flags if not (flag[0] == "--ro-bind" and flag[1].startswith(below)
                and flag[2].startswith("/proc/"))]  # fmt: skip
        assert len(kept) < len(rendering.flags)
        return replace(rendering, flags=tuple(kept))

    return change


def _limit(name: str) -> Change:
    return lambda rendering: replace(
        rendering, limits={key: most for key, most in rendering.limits.items() if key != name}
    )


def _temporary(name: str, word: str) -> Change:
    place = f"{STAGE}/{name}"

    def change(rendering: Rendering) -> Rendering:
        options = ",".join(each for each in rendering.temporary[place].split(",") if not each.startswith(word))
        return replace(rendering, temporary=rendering.temporary | {place: options})

    return change


def _with_a_device(flag: Flag) -> tuple[Flag, ...]:
    return ("--dev-bind", "/dev/zero", "/dev/extra"), flag


def _same(rendering: Rendering) -> Rendering:
    return rendering


def _unfiltered(rendering: Rendering) -> Rendering:
    return replace(rendering, filtered=False)


ABLATIONS = (
    Ablation(("--unshare-ipc",), _instead("--unshare-ipc"), ("system-v-ipc",)),
    Ablation(("--unshare-pid",), _instead("--unshare-pid"), ()),
    Ablation(("--unshare-net",), _instead("--unshare-net"), ("host-loopback", "internet-tcp", "interfaces")),
    Ablation(("--unshare-uts", "--hostname"), _instead("--unshare-uts", "--hostname"), ("host-name",)),
    Ablation(("--hostname",), _instead("--hostname"), ("host-name",)),
    Ablation(("--unshare-cgroup-try",), _instead("--unshare-cgroup-try"), ("cgroup-path",)),
    Ablation(("--cap-drop",), _instead("--cap-drop", give=lambda flag: (("--cap-add", "CAP_NET_BIND_SERVICE"),)),
             ("capabilities", "take-low-ports")),
    Ablation(("--ro-bind /run/*",), _to("/usr"), ("mount-flags",), "programs"),
    Ablation(("--ro-bind /run/*",), _to("/etc/ssl/certs"), ("mount-flags",), "settings"),
    Ablation(("--ro-bind /run/folder", "--ro-bind /run/file"), _without_masks((f"{STAGE}/folder", f"{STAGE}/file")),
             ("proc-masked",)),
    Ablation(("--ro-bind /proc",), _without_masks(("/proc/",)), ("proc-read-only",)),
    Ablation(("--dev-bind /dev",), _instead("--remount-ro /dev", give=_with_a_device), ("device-nodes",)),
    Ablation(("--remount-ro /dev",), _instead("--remount-ro /dev"), ("write-devices-folder",)),
    Ablation(("--remount-ro /",), _instead("--remount-ro /"), ("write-system", "write-anywhere", "mount-flags")),
    Ablation(("--ro-bind /run/*",), _to("/data"), ("write-data", "change-data", "mount-flags"), "data"),
    Ablation(("nofile",), _limit("nofile"), ("open-files",)),
    Ablation(("core",), _limit("core"), ("core-files",)),
    Ablation(("filtered",), _unfiltered, ("io-uring-setup", "vsock", "ptrace-me")),
    Ablation(("oom_score",), lambda rendering: replace(rendering, oom_score=0), ("oom-score",)),
    *(
        ablation
        for name in ("tmp", "run", "shm")
        for ablation in (
            Ablation((f"{STAGE}/{name}",), _temporary(name, "noexec"), ("run-from-temporary", "mount-flags"), "noexec"),
            Ablation((f"{STAGE}/{name}",), _temporary(name, "size="), (f"fill-{name}",), "size"),
        )
    ),
    Ablation(("memory",), _same, ("memory-bomb", "memory-by-files"), without=frozenset({"memory"})),
    Ablation(("cpu",), _same, ("cpu-share",), without=frozenset({"cpu"})),
    Ablation(("pids", "nproc"), _limit("nproc"), ("fork-bomb",), without=frozenset({"pids"})),
)  # fmt: skip

NOT_WALLS = {
    "--unshare-user": "bubblewrap makes one for whoever is not root, asked or not",
    "--uid": "who it thinks it is: the host's user was changed before",
    "--gid": "who it thinks it is",
    "--die-with-parent": "life after the end, which has tests of its own",
    "--new-session": "its holder left the terminal already",
    "--symlink": "names",
    "--proc": "what the masks are put on",
    "--perms 0755 --tmpfs /dev": "an empty folder, made read-only below",
    "--dev-bind /run/pts": "terminals of its own, seen by attestation",
    "--bind": "what it may write; its limits are those of the disk and of the temporary folders",
    "--chdir": "where it begins",
    "--clearenv": "what the agent is told: bubblewrap itself is started with nothing",
    "--setenv": "what the agent is told",
}


def _rendered() -> Rendering:
    spec = BubblewrapSandboxes().spec(["true"], Arena())
    placement = Placement(writable={"/workspace": "/w"}, readonly={"/data": "/d"}, terminals="/p")
    return render(spec, placement, binary={}, host=Host.look(), counted=False)


def test_every_rendered_flag_is_ablated_or_no_wall() -> None:
    rendering = _rendered()
    ablated = tuple(start for each in ABLATIONS for start in each.flags)
    numbered = tuple(f"--ro-bind {STAGE}/{number}" for number in range(40))

    def known(flag: Flag) -> bool:
        text = _text(flag)
        starts = (*ablated, *NOT_WALLS, *(numbered if "--ro-bind /run/*" in ablated else ()))
        return any(text == start or text.startswith((f"{start} ", f"{start}/")) for start in starts)

    assert [_text(flag) for flag in rendering.flags if not known(flag)] == []
    assert set(rendering.limits) == {"nofile", "core", "nproc"} <= set(ablated)
    assert set(rendering.temporary) <= set(ablated)


@pytest.fixture(autouse=True)
def segment(host_segment: None) -> None:
    return


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda each: each.id)
def test_flag_taken_away_turns_probes_red(ablation: Ablation, arena: Arena) -> None:
    sandboxes = BubblewrapSandboxes(change=ablation.change, without=ablation.without)
    if not ablation.red:
        with pytest.raises(IsolationFailed):
            run_probes(sandboxes, arena, only=["identity"])
        return
    answers = run_probes(sandboxes, arena, only=ablation.red)
    assert [str(each) for each in answers.values() if each.contained] == []
    assert set(answers) == set(ablation.red)


def test_disk_without_limit_turns_probes_red(arena: Arena) -> None:
    red = ["fill-disk", "fill-disk-at-once", "inode-bomb"]
    answers = run_probes(BubblewrapSandboxes(limited_disk=False), arena, only=red)
    assert [str(each) for each in answers.values() if each.contained] == []
