"""What does it cost to know who calls and whether they may, with an access token and with an API key?"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp.test_utils import make_mocked_request

from eleagent.operations.sessions import SESSION_STOP
from eleagent.permissions import Role
from eleagent.wire.keys import ApiKeyCreate
from eleagent_daemon.api.door import Door
from eleagent_daemon.api.identity import Peers
from eleagent_daemon.api.pipeline import check_permission, check_reach
from eleagent_daemon.domain.access import Owned
from eleagent_daemon.identity.assembly import Terms, open_identity
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.logins import Lives
from eleagent_daemon.identity.passwords import FLOOR
from eleagent_daemon.store.people import User

REQUESTS = 2000
PASSWORD = "a horse that nobody saw staple"
MINE = Owned(id="s-benchbench", owner="ada")


def identity_costs() -> tuple[float, float]:
    """Milliseconds a request with an access token, and with an API key."""
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-") as folder:
        return asyncio.run(_measure(Path(folder)))


async def _measure(folder: Path) -> tuple[float, float]:
    async with AsyncExitStack() as stack:
        terms = Terms(access_s=600, lives=Lives(idle_s=1800, whole_s=43200), cost=FLOOR)
        identity = await open_identity(
            stack, database=folder / "auth.db", keyring=Keyring.open(folder / "keys"), issuer="bench", terms=terms
        )
        people = identity.people
        hashed = await identity.passwords.hash(PASSWORD)
        ada = await people.initialize("bench", User(name="ada", role=Role.OWNER, password=hashed))
        tokens, _ = await identity.logins.login("ada", PASSWORD, address="", note="")
        wanted = ApiKeyCreate(note="bench", group="ci_cd")
        _, key = await identity.keys.make(wanted, ada, {})
        door = Door(
            people=people,
            peers=Peers(people=people),
            logins=identity.logins,
            tokens=identity.tokens,
            keys=identity.keys,
            projects=identity.project_rows,
            addresses=identity.addresses,
        )
        return await _cost(door, tokens.access), await _cost(door, key)


class _Tcp:
    """What is asked of a connection: a mock of the library's would cost more than all that is measured."""

    def get_extra_info(self, name: str) -> object:
        return ("127.0.0.1", 1) if name == "peername" else None


async def _cost(door: Door, token: str) -> float:
    headers = {"Authorization": f"Bearer {token}"}
    request = make_mocked_request("POST", "/v1/sessions/x/stop", headers=headers, transport=_Tcp())

    async def ask() -> None:
        caller = await door.identify(request)
        check_permission(SESSION_STOP, caller)
        check_reach(SESSION_STOP, caller, MINE, "")

    await ask()
    begin = time.process_time()
    for _ in range(REQUESTS):
        await ask()
    return (time.process_time() - begin) / REQUESTS * 1000
