"""What does one look at a gated or running sandbox take with it: the evidence, and the doors that are not held yet?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from eleagent_daemon.domain.evidence import Evidence
from eleagent_daemon.domain.sandbox import UNPRIVILEGED_PORT_START, SandboxSpec
from eleagent_daemon.launcher import doors
from eleagent_daemon.launcher.evidence import collect
from eleagent_daemon.launcher.limits import limit_tcp


def examine(
    missing: Mapping[str, int],
    *,
    sandbox_id: str,
    started_at: str,
    pids: Sequence[int],
    spec: SandboxSpec,
    engine: dict[str, str],
    released: bool,
    owner: int,
) -> tuple[Evidence, list[int]]:
    """Evidence as `collect` finds it, and listeners at the ports of `missing`, none where something inside could take
    them. Blocking, for a child, which is in the sandbox's network namespace afterwards.
    """
    if not released:
        limit_tcp(sandbox_id, pids[0])
    evidence = collect(
        sandbox_id=sandbox_id,
        started_at=started_at,
        pids=pids,
        spec=spec,
        engine=engine,
        released=released,
        owner=owner,
    )
    # Last, since it changes the namespace that this process looks out of.
    start = doors.port_start(evidence.pid, evidence.namespaces["net"])
    guarded = start == UNPRIVILEGED_PORT_START
    return msgspec.structs.replace(evidence, port_start=start), doors.listen(missing) if guarded else []
