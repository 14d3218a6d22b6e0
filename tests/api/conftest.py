"""How do tests meet the API: the real app and audit log on a Unix socket, with scripted handlers behind them?"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from eleagent.errors import NotFound
from eleagent.operations.table import OPERATIONS
from eleagent.version import VERSION_HEADER, __version__
from eleagent_daemon.api.app import make_app
from eleagent_daemon.api.identity import Caller, identify
from eleagent_daemon.api.pipeline import Call, Handlers, Pipeline
from eleagent_daemon.store.ledger import Ledger

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

    async def request(
        self, method: str, path: str, *, headers: dict[str, str | None] | None = None, **more: Any
    ) -> Answered:
        """As a client of ours asks; a header of None is left out."""
        sent = {"Host": "eleagent", VERSION_HEADER: __version__} | (headers or {})
        given = {name: value for name, value in sent.items() if value is not None}
        async with self.http.request(method, f"http://eleagent{path}", headers=given, **more) as response:
            return Answered(response.status, dict(response.headers), await response.read())

    def records(self) -> list[dict[str, Any]]:
        """What the log has after its first record."""
        segments = sorted(self.audit.iterdir())
        lines = [line for segment in segments for line in segment.read_bytes().splitlines()]
        return [EMPTY | msgspec.json.decode(line) for line in lines[1:]]


async def _resolve(text: str, _: Caller) -> str:
    if text == "nobody":
        raise NotFound(f"no session {text!r}")
    return "s-aaaaaaaaaa"


@asynccontextmanager
async def serving(identify: Callable[[web.Request], Caller]) -> AsyncIterator[Api]:
    """In a folder that other users can pass: what keeps them out is the daemon's word."""
    with tempfile.TemporaryDirectory(prefix="eleagent-api-") as name, ThreadPoolExecutor(max_workers=2) as pool:
        folder = Path(name)
        folder.chmod(0o711)
        ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="test", pool=pool)
        handlers = Scripted()
        pipeline = Pipeline(ledger=ledger, resolve=_resolve, identify=identify)
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
            )
        await runner.cleanup()
        await ledger.close()


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with serving(identify) as served:
        yield served
