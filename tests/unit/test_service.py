"""What does creating a session refuse before anything is asked or made?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from eleagent.errors import BadRequest
from eleagent.wire.sessions import SessionCreate
from eleagent_daemon.sessions.service import Sessions
from eleagent_daemon.sessions.starter import Starter
from eleagent_daemon.store.registry import CallerIdentity


async def test_service_takes_a_timeout_of_zero_for_a_mistake_and_not_for_the_default() -> None:
    nothing = cast(Any, None)
    sessions = Sessions(
        registry=nothing, timelines=nothing, catalogue=nothing, launcher=nothing, gateway=nothing, starting=nothing,
        spares=nothing, ending=nothing, approvals=nothing, purses=nothing, accounts=nothing, retention=nothing,
        supervisor=nothing, pool=nothing, settings=cast(Any, SimpleNamespace(home=Path(), timeout_s=60.0, kept_most=0)),
    )  # fmt: skip
    with pytest.raises(BadRequest, match="timeout 0: must be more than 0"):
        await sessions.create(
            SessionCreate(agent="command", argv=["true"], timeout_s=0),
            by=Starter(identity=CallerIdentity(uid=0, gid=0, groups=[]), owner="root"),
        )  # fmt: skip
