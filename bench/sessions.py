"""What does a live session cost the daemon, and a list of them when ten thousand are in the registry?"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import time
from pathlib import Path

import msgspec
from footprint import command_cpu, pss_kib
from warm import HOME, eleagent

from eleagent.wire.sessions import Session, SessionCreate
from eleagent.wire.states import State
from eleagent_daemon.domain.sandbox import POOL_FIRST_UID
from eleagent_daemon.store.registry import ORGANIZATION, CallerIdentity

LIVE = 8
ENDED = 10_000


def memory_of_a_session(daemon: int) -> tuple[float, str]:
    """MiB that eleagentd holds more for each session that runs. `daemon` is the pid of its parent."""
    (pid,) = _eleagentd(daemon)
    eleagent("run", "-q", "--", "true")
    before = pss_kib(pid)
    keys = [eleagent("run", "-d", "--", "sleep", "300").strip() for _ in range(LIVE)]
    while any(one["state"] != "running" for one in json.loads(eleagent("ps", "--json"))["sessions"]):
        time.sleep(0.2)
    time.sleep(1)
    grown = pss_kib(pid) - before
    eleagent("stop", "--grace", "0", *keys)
    return max(0.0, grown / LIVE / 1024), f"{LIVE} sessions, eleagentd {before / 1024:.0f} MiB before"


def cpu_of_a_long_list() -> tuple[float, str]:
    """CPU of `eleagent ps` in milliseconds. The registry keeps what is put into it: the home is the benchmark's own."""
    have = len(json.loads(eleagent("ps", "-a", "-n", str(ENDED), "--json"))["sessions"])
    _fill(HOME / "artefacts" / "state" / "session_registry.db", max(0, ENDED - have))
    return command_cpu("ps"), f"{ENDED:,} in the registry; of ps -a {command_cpu('ps', '-a'):.0f} ms"


def _fill(path: Path, count: int) -> None:
    """Ended sessions, as the registry would have stored them one by one."""
    request = msgspec.json.encode(SessionCreate(agent="command", argv=["true"])).decode()
    caller = msgspec.json.encode(CallerIdentity(uid=0, gid=0, groups=[])).decode()

    def row() -> tuple[object, ...]:
        key = "s-" + "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
        session = Session(
            key=key, name=key, state=State.STOPPED, agent="command", owner="bench", title=f"made up {key}",
            created="2020-01-01T00:00:00Z", reason="stopped", exit_code=137,
        )  # fmt: skip
        text = msgspec.json.encode(session).decode()
        return (
            key,
            ORGANIZATION,
            key,
            "bench",
            session.state,
            0,
            POOL_FIRST_UID,
            1,
            session.created,
            text,
            request,
            caller,
        )

    with contextlib.closing(sqlite3.connect(path, timeout=30)) as database, database:
        database.executemany(
            "INSERT INTO sessions (key, organization, name, owner, state, live, uid, attempt, created, session,"
            " request, caller) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (row() for _ in range(count)),
        )


def _eleagentd(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in children if b"eleagent_daemon.main" in Path(f"/proc/{child}/cmdline").read_bytes()]
