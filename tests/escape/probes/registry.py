"""Which probes are there, and what came of one?

A probe is a function that tries one thing from inside a sandbox and says in single words what happened: an errno's
name, a signal's, `none` or `done`; detail for people may follow after a colon. It is contained when every word it said
is one it was expected to say, so that a probe which failed for a reason nobody thought of counts as an escape.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

TIME_LIMIT_S = 5.0
ANSWER_LIMIT_BYTES = 4000
FINDINGS_SHOWN = 12


@dataclass(frozen=True)
class Given:
    """What the outside tells the probes: what they may have, and what they must not be able to reach."""

    uid: int = field(default_factory=os.getuid)
    memory_bytes: int = 2 << 30
    cpus: float = 2.0
    pids: int = 512
    nofile: int = 4096
    tmp_bytes: int = 512 << 20
    run_bytes: int = 64 << 20
    shm_bytes: int = 64 << 20
    disk_bytes: int = 4 << 30
    disk_inodes: int = 200_000
    door_ports: list[int] = field(default_factory=lambda: [328, 767, 810])
    open_doors: list[int] = field(default_factory=list)
    lab_hosts: list[str] = field(default_factory=list)
    lab_metadata: str = ""
    lab_port: int = 0
    host_addresses: list[str] = field(default_factory=list)
    host_ports: list[int] = field(default_factory=list)
    host_words: list[str] = field(default_factory=list)
    canaries: list[str] = field(default_factory=list)
    """Written backwards, so that telling them does not put them where they are looked for."""
    foreign_paths: list[str] = field(default_factory=list)
    denied_host: str = "denied.example.com"
    neighbour: str = "s-aaaaaaaaaa"
    """Another session that lives."""
    stolen_token: str = ""
    """Its token."""

    def canary_words(self) -> list[bytes]:
        return [each[::-1].encode() for each in self.canaries]


@dataclass(frozen=True)
class Probe:
    name: str
    expects: frozenset[str]
    group: str
    run: Callable[[Given], str]


PROBES: dict[str, Probe] = {}


def probe(name: str, *, expects: str, group: str = "") -> Callable[[Callable[[Given], str]], Callable[[Given], str]]:
    """Enter a function under `name`. `expects` are the words that mean contained, `group` is "" for what every runtime
    must contain by itself, `session` for what takes a daemon outside."""

    def enter(run: Callable[[Given], str]) -> Callable[[Given], str]:
        if name in PROBES:
            raise ValueError(f"two probes are called {name}")
        PROBES[name] = Probe(name, frozenset(expects.split()), group, run)
        return run

    return enter


def said(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "UNKNOWN")


def findings(found: Iterable[object]) -> str:
    """`none`, or what was found."""
    listed = [str(each) for each in found]
    shown = ", ".join(listed[:FINDINGS_SHOWN])
    return f"found: {len(listed)}: {shown}" if listed else "none"


def attempt(action: Callable[..., object], *arguments: object) -> str:
    """`done` when the action worked, else its errno's name."""
    try:
        action(*arguments)
    except OSError as error:
        return said(error)
    return "done"


def together(outcomes: dict[str, str]) -> str:
    """Several tries in one answer: the words, then who said which."""
    words = sorted(set(outcomes.values()))
    return " ".join(words) + ": " + ", ".join(f"{name}={word}" for name, word in outcomes.items())


def run(chosen: Probe, given: Given) -> dict[str, object]:
    """Run one probe in a login session of its own; it is killed after TIME_LIMIT_S."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setsid()
        _answer(writer, chosen, given)
    os.close(writer)
    text, hung = _listen(reader)
    if hung:
        _kill(child)
    _, status = os.waitpid(child, 0)
    _kill(child)
    if hung:
        text = "hung"
    elif os.WIFSIGNALED(status) and not text:
        text = signal.Signals(os.WTERMSIG(status)).name
    words = set(text.partition(":")[0].split())
    return {"probe": chosen.name, "contained": bool(words) and words <= chosen.expects, "outcome": text}


def _answer(writer: int, chosen: Probe, given: Given) -> None:
    try:
        text = chosen.run(given)
    except OSError as error:
        text = f"{said(error)}: {error}"
    except BaseException as error:  # noqa: BLE001 (whatever a probe dies of is its answer)
        text = f"crashed: {error!r}"
    os.write(writer, text.encode(errors="replace")[:ANSWER_LIMIT_BYTES])
    os._exit(0)


def _listen(reader: int) -> tuple[str, bool]:
    """The answer, and whether the time ran out. An answer ends it: a probe's own children may keep the pipe open."""
    ends = time.monotonic() + TIME_LIMIT_S
    ready, _, _ = select.select([reader], [], [], max(0.0, ends - time.monotonic()))
    text = os.read(reader, ANSWER_LIMIT_BYTES).decode(errors="replace") if ready else ""
    os.close(reader)
    return text, not ready


def _kill(group: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            continue


def line(result: dict[str, object]) -> str:
    return json.dumps(result, ensure_ascii=True)
