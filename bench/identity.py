"""What does it cost to know who calls and whether they may, with an access token and with an API key, and does the work
of a refused login tell who exists?
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from aiohttp.test_utils import make_mocked_request

from eleagent.errors import Unauthenticated
from eleagent.operations.sessions import SESSION_STOP
from eleagent.permissions import Role
from eleagent.wire.keys import ApiKeyCreate
from eleagent_daemon.api.door import Door
from eleagent_daemon.api.identity import Peers
from eleagent_daemon.api.pipeline import check_permission, check_reach
from eleagent_daemon.domain.access import Owned
from eleagent_daemon.identity.assembly import Terms, open_identity
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.logins import Lives, Logins
from eleagent_daemon.identity.passwords import FLOOR
from eleagent_daemon.store.people import User

REQUESTS = 2000
REFUSALS = 40
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


def refused_login_difference() -> tuple[float, str]:
    """By how many % the median CPU of a login as nobody differs from one with a wrong password; and the figures."""
    with tempfile.TemporaryDirectory(prefix="eleagent-bench-") as folder:
        return asyncio.run(_compare_refusals(Path(folder)))


async def _compare_refusals(folder: Path) -> tuple[float, str]:
    days = itertools.count(step=86_400.0)  # each try comes a day later: no back-off is measured
    async with AsyncExitStack() as stack:
        terms = Terms(access_s=600, lives=Lives(idle_s=1800, whole_s=43200), cost=FLOOR)
        identity = await open_identity(
            stack, database=folder / "auth.db", keyring=Keyring.open(folder / "keys"), issuer="bench", terms=terms,
            clock=lambda: next(days),
        )  # fmt: skip
        hashed = await identity.passwords.hash(PASSWORD)
        await identity.people.initialize("bench", User(name="ada", role=Role.OWNER, password=hashed))
        for name in ("ada", "nobody"):
            await _refused(identity.logins, name)
        pairs = [[await _refused(identity.logins, name) for name in ("nobody", "ada")] for _ in range(REFUSALS)]
    unknown, wrong = zip(*pairs, strict=True)
    difference = abs(_median(unknown, 0) / _median(wrong, 0) - 1) * 100
    return difference, f"nobody {_told(unknown)}; wrong password {_told(wrong)}"


async def _refused(logins: Logins, name: str) -> tuple[float, float]:
    """Milliseconds of CPU and of the clock."""
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        await logins.login(name, "not the password of anybody", address="", note="")
    except Unauthenticated:
        return (time.process_time() - cpu) * 1000, (time.perf_counter() - wall) * 1000
    raise AssertionError(f"{name} logged in with a wrong password")


def _median(tries: Sequence[tuple[float, float]], which: int) -> float:
    return statistics.median(one[which] for one in tries)


def _told(tries: Sequence[tuple[float, float]]) -> str:
    """Medians with the middle half's spread."""
    words = []
    for which, name in enumerate(("CPU", "wall")):
        low, median, high = statistics.quantiles((one[which] for one in tries), n=4)
        words.append(f"{name} {median:.1f} ms ({low:.1f} to {high:.1f})")
    return ", ".join(words)


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
