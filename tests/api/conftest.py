"""How do tests meet the API: the real app and audit log on a Unix socket, with scripted handlers behind them?"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from eleagent.errors import NotFound
from eleagent.operations.operation import Kind
from eleagent.operations.table import OPERATIONS
from eleagent.permissions import Role
from eleagent.version import VERSION_HEADER, __version__
from eleagent.wire.logins import Tokens
from eleagent_daemon.api.app import make_app
from eleagent_daemon.api.door import Door
from eleagent_daemon.api.identity import Caller, Doorkeeper, Peers
from eleagent_daemon.api.keys import KeyHandlers
from eleagent_daemon.api.logins import LoginHandlers
from eleagent_daemon.api.organization import OrganizationHandlers
from eleagent_daemon.api.pipeline import Call, Handlers, Pipeline, Resolver
from eleagent_daemon.api.projects import ProjectHandlers
from eleagent_daemon.api.tcp import TcpSite
from eleagent_daemon.api.users import UserHandlers
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.identity.assembly import Identity, Terms, open_identity
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.logins import Lives
from eleagent_daemon.identity.passwords import Cost
from eleagent_daemon.identity.throttle import Addresses
from eleagent_daemon.network import bind_tcp
from eleagent_daemon.store.database import Database
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.people import People, User
from eleagent_daemon.store.registry import Registry

EMPTY: dict[str, Any] = {
    "decision": "", "object": "", "session": "", "request": "", "intent": None, "outcome": "", "details": {},
}  # fmt: skip
"""What a record leaves out."""


@dataclass
class Answered:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


@dataclass
class Scripted:
    """A handler for every operation: `answers` has by its id what it returns, raises, or computes from the call."""

    answers: dict[str, Any] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)

    def table(self) -> Handlers:
        return {operation: self._handler(operation.id) for operation in OPERATIONS}

    def _handler(self, name: str) -> Callable[[Call], Any]:
        async def handler(call: Call) -> Any:
            self.calls.append(call)
            answer = self.answers.get(name, {})
            answer = await answer(call) if callable(answer) else answer
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return handler


@dataclass
class Api:
    socket: Path
    audit: Path
    handlers: Scripted
    http: aiohttp.ClientSession
    views: list[tuple[str, str, str, str]] = field(default_factory=list)
    """What was told to be read by whom it is not shared with: thing, by whom, by which act, why."""

    async def request(
        self, method: str, path: str, *, headers: dict[str, str | None] | None = None, **more: Any
    ) -> Answered:
        """As a client of ours asks; a header of None is left out."""
        sent = {"Host": "eleagent", VERSION_HEADER: __version__} | (headers or {})
        given = {name: value for name, value in sent.items() if value is not None}
        async with self.http.request(method, f"http://eleagent{path}", headers=given, **more) as response:
            return Answered(response.status, dict(response.headers), await response.read())

    def recorded(self) -> bytes:
        """All that the log says, as it is on the disk."""
        return b"".join(segment.read_bytes() for segment in sorted(self.audit.iterdir()))

    def records(self) -> list[dict[str, Any]]:
        """What the log has after its first record."""
        segments = sorted(self.audit.iterdir())
        lines = [line for segment in segments for line in segment.read_bytes().splitlines()]
        return [EMPTY | msgspec.json.decode(line) for line in lines[1:]]


KEY = "s-aaaaaaaaaa"
CHEAP = Cost(memory_kib=64, rounds=1, lanes=1)
PASSWORD = "a horse that nobody saw staple"


async def _resolve(text: str, sight: Sight) -> Owned:
    """Every session is `KEY` and the caller's own."""
    if text == "nobody":
        raise NotFound(f"no session {text!r}")
    return Owned(id=KEY, owner=sight.user)


class Fixed:
    """A doorkeeper to whom everybody is one caller."""

    def __init__(self, caller: Callable[[web.Request], Caller]) -> None:
        self._caller = caller

    async def identify(self, request: web.Request) -> Caller:
        return self._caller(request)

    visitor = identify

    def again(self, caller: Caller) -> Caller:
        return caller


@asynccontextmanager
async def serving(
    identify: Callable[[web.Request], Caller] | Doorkeeper, *, resolve: Resolver = _resolve
) -> AsyncIterator[Api]:
    """In a folder that other users can pass: what keeps them out is the daemon's word."""
    doorkeeper = Fixed(identify) if callable(identify) else identify
    with tempfile.TemporaryDirectory(prefix="eleagent-api-") as name, ThreadPoolExecutor(max_workers=2) as pool:
        folder = Path(name)
        folder.chmod(0o711)
        ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="test", pool=pool)
        handlers = Scripted()
        views: list[tuple[str, str, str, str]] = []

        async def disclosed(thing: Owned, by: str, what: str, why: str) -> None:
            views.append((thing.id, by, what, why))

        pipeline = Pipeline(
            ledger=ledger, doorkeeper=doorkeeper, resolvers=dict.fromkeys(Kind, resolve), disclosed=disclosed
        )
        runner = web.AppRunner(make_app(pipeline=pipeline, handlers=handlers.table()), shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, str(folder / "api.sock")).start()
        (folder / "api.sock").chmod(0o666)
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(folder / "api.sock"))) as http:
            yield Api(
                socket=folder / "api.sock",
                audit=folder / "ledger" / "log-0001" / "records",
                handlers=handlers,
                http=http,
                views=views,
            )
        await runner.cleanup()
        await ledger.close()


@dataclass
class House:
    """The whole of identity with an app behind it, on the socket and on TCP. `clock` is what it takes for now."""

    api: Api
    identity: Identity
    url: str
    clock: Clock
    people: People
    runner: web.AppRunner
    http: aiohttp.ClientSession

    async def tcp(
        self, method: str, path: str, *, token: str | None = None, headers: dict[str, str] | None = None, **more: Any
    ) -> Answered:
        """As a remote client asks."""
        sent = {VERSION_HEADER: __version__} | (headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        async with self.http.request(method, f"{self.url}{path}", headers=sent, **more) as response:
            return Answered(response.status, dict(response.headers), await response.read())

    async def add(self, name: str, role: Role = Role.MEMBER, **more: Any) -> User:
        """A user who has the one password."""
        hashed = await self.identity.passwords.hash(PASSWORD)
        return await self.people.create_user(User(name=name, role=role, password=hashed, **more))

    async def login(self, user: str = "ada", password: str = PASSWORD) -> Tokens:
        answer = await self.tcp("POST", "/v1/login", json={"user": user, "password": password})
        assert answer.status == 200, answer
        return msgspec.json.decode(answer.body, type=Tokens)


class Clock:
    """Seconds, as they pass or as a test says."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@asynccontextmanager
async def house(
    *, resolve: Resolver = _resolve, scripted: bool = False, addresses: Addresses | None = None
) -> AsyncIterator[House]:
    """An initialized organization whose owner is ada, with the real handlers of identity and scripted others; or all
    `scripted`, and everything found by `resolve`.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eleagent-house-")))
        folder.chmod(0o711)
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=2))
        secrets = folder / "secrets"
        ledger = await Ledger.open(folder / "ledger", secrets=secrets, installation="test", pool=pool)
        stack.push_async_callback(ledger.close)
        clock = Clock()
        identity = await open_identity(
            stack,
            database=folder / "auth.db",
            keyring=await asyncio.to_thread(Keyring.open, folder / "identity.json"),
            issuer="test",
            terms=Terms(access_s=600, lives=Lives(idle_s=1800, whole_s=43200), cost=CHEAP),
            clock=clock,
        )
        people = identity.people
        peers = Peers(people=people, projects=identity.project_rows)
        await peers.admit_system()
        hashed = await identity.passwords.hash(PASSWORD)
        await people.initialize("Acme", User(name="ada", role=Role.OWNER, password=hashed))
        door = Door(
            people=people,
            peers=peers,
            logins=identity.logins,
            tokens=identity.tokens,
            keys=identity.keys,
            projects=identity.project_rows,
            addresses=addresses or identity.addresses,
        )
        users = UserHandlers(membership=identity.membership, people=people, logins=identity.logins)
        registry = await Registry.open(folder / "registry.db")
        stack.push_async_callback(registry.close)
        handlers = Scripted()
        pipeline = Pipeline(
            ledger=ledger,
            doorkeeper=door,
            resolvers={
                **dict.fromkeys(Kind, resolve),
            }
            if scripted
            else {
                **dict.fromkeys(Kind, resolve),
                Kind.USER: identity.membership.find,
                Kind.LOGIN: users.find_login,
                Kind.API_KEY: identity.keys.find_owned,
                Kind.PROJECT: identity.projects.find,
            },
            hosts=frozenset({"127.0.0.1", "localhost"}),
        )
        real = [
            LoginHandlers(logins=identity.logins, people=people, addresses=identity.addresses),
            users,
            ProjectHandlers(projects=identity.projects),
            KeyHandlers(keys=identity.keys, people=people),
            OrganizationHandlers(
                membership=identity.membership,
                people=people,
                logins=identity.logins,
                keyring=identity.keyring,
                registry=registry,
            ),
        ]
        table = dict(handlers.table())
        for noun in () if scripted else real:
            table |= dict(noun.table())
        runner = web.AppRunner(make_app(pipeline=pipeline, handlers=table), shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        listener = bind_tcp("127.0.0.1:0")
        site = TcpSite(runner, listener, tls=None)
        await site.start()
        stack.push_async_callback(site.close)
        await web.UnixSite(runner, str(folder / "api.sock")).start()
        (folder / "api.sock").chmod(0o666)
        http = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(folder / "api.sock")))
        await stack.enter_async_context(http)
        records = folder / "ledger" / "log-0001" / "records"
        api = Api(socket=folder / "api.sock", audit=records, handlers=handlers, http=http)
        yield House(
            api=api, identity=identity, url=f"http://127.0.0.1:{listener.getsockname()[1]}", clock=clock,
            people=people, runner=runner, http=await stack.enter_async_context(aiohttp.ClientSession()),
        )  # fmt: skip


@pytest.fixture
async def home() -> AsyncIterator[House]:
    async with house() as one:
        yield one


@asynccontextmanager
async def members(*users: User) -> AsyncIterator[People]:
    """An organization in a database of its own."""
    with tempfile.TemporaryDirectory(prefix="eleagent-auth-") as name:
        database = await Database.open(Path(name) / "auth.db", schema="auth")
        people = await People.open(database)
        for user in users:
            await people.create_user(user)
        yield people
        await database.close()


@pytest.fixture
async def people() -> AsyncIterator[People]:
    async with members() as some:
        yield some


@pytest.fixture
async def api(people: People) -> AsyncIterator[Api]:
    peers = Peers(people=people)
    await peers.admit_system()
    async with serving(peers) as served:
        yield served
