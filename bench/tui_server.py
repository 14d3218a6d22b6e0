"""A daemon for the full-screen client to be measured against: real timelines behind a bare API, and nothing beside.

    tui_server.py SOCKET FOLDER

What happens is told by one letter on stdin: t (200 tokens a second), u (50 changed sessions a second), s (stop that),
f (five sessions are left).
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from aiohttp import web

from eleagent.version import VERSION_HEADER, __version__
from eleagent.wire.approvals import ApprovalList
from eleagent.wire.sessions import Session, SessionDetail, SessionList, State, Usage
from eleagent.wire.system import Status
from eleagent.wire.timeline import Notice
from eleagent_daemon.store.timeline import Timelines

LARGE, SMALL = "s-aaaaaaaaaa", "s-aaaaaaaaab"
encode = msgspec.json.encode


def make_session(number: int) -> Session:
    key = "s-a" + "".join("abcdefghij"[int(digit)] for digit in f"{number:09d}")
    created = (datetime.now(UTC) - timedelta(minutes=number)).isoformat().replace("+00:00", "Z")
    return Session(
        key=key, name=f"otter-{number:03d}", state=State.RUNNING, agent="claude", owner="weber", created=created,
        title=f"Sort the reports of run {number}", usage=Usage(requests=1, input_tokens=number),
    )  # fmt: skip


class Server:
    def __init__(self, folder: Path) -> None:
        self.sessions = {one.key: one for one in map(make_session, range(500))}
        self.timelines = Timelines(folder=folder, pool=ThreadPoolExecutor(2))
        self.notices: list[bytes] = []
        self.news = asyncio.Condition()
        self.does = ""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/status", self.status),
            web.get("/v1/sessions", self.list_sessions),
            web.get("/v1/sessions/{key}", self.get),
            web.get("/v1/sessions/{key}/events", self.events),
            web.get("/v1/approvals", self.approvals),
        ]

    async def status(self, _: web.Request) -> web.Response:
        fields = {}
        for field in msgspec.structs.fields(Status):
            if field.default is msgspec.NODEFAULT:
                fields[field.name] = {str: "x", int: 1, float: 1.0}[field.type]
        return _json(Status(**fields))

    async def list_sessions(self, _: web.Request) -> web.Response:
        return _json(SessionList(list(self.sessions.values())))

    async def get(self, request: web.Request) -> web.Response:
        return _json(SessionDetail(session=self.sessions[request.match_info["key"]]))

    async def approvals(self, _: web.Request) -> web.Response:
        return _json(ApprovalList([]))

    async def events(self, request: web.Request) -> web.StreamResponse:
        key, query = request.match_info["key"], request.query
        after = int(query.get("after", 0))
        if "tail" in query:
            after = max(after, await self.timelines.last_seq(key) - int(query["tail"]))
        limit = int(query["limit"]) if "limit" in query else None
        response = web.StreamResponse(headers={VERSION_HEADER: __version__})
        await response.prepare(request)
        async with aclosing(self.timelines.stream(key, after=after, follow=False, limit=limit)) as chunks:
            async for chunk, _ in chunks:
                await response.write(chunk)
        shown = len(self.notices)
        with suppress(ConnectionError):
            while query.get("follow") == "true":
                async with self.news:
                    await self.news.wait_for(lambda shown=shown: len(self.notices) > shown)
                for notice in self.notices[shown:]:
                    await response.write(notice)
                shown = len(self.notices)
            await response.write_eof()
        return response

    async def act(self) -> None:
        words, turn = 0, 0
        while True:
            await asyncio.sleep(0.02)
            turn += 1
            if self.does == "t":  # 200 tokens of 4 characters a second, in lines of words
                async with self.news:
                    text = "".join(f"w{(words + n) % 97:02d} " for n in range(4))
                    words += 4
                    self.notices.append(
                        encode(Notice("preview", text=text + ("\n" if words % 60 == 0 else ""))) + b"\n"
                    )
                    self.news.notify_all()
            elif self.does == "u":
                key = list(self.sessions)[turn % 500]
                one = self.sessions[key]
                used = msgspec.structs.replace(one.usage, output_tokens=one.usage.output_tokens + 1000)
                self.sessions[key] = msgspec.structs.replace(one, usage=used)

    def told(self) -> None:
        letter = os.read(0, 1).decode()
        if not letter:
            os._exit(0)
        self.does = letter
        if letter == "f":
            self.sessions = dict(list(self.sessions.items())[:5])


def _json(answer: object) -> web.Response:
    return web.Response(body=encode(answer), content_type="application/json", headers={VERSION_HEADER: __version__})


async def main() -> None:
    server = Server(Path(sys.argv[2]))
    app = web.Application()
    app.add_routes(server.routes())
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, sys.argv[1]).start()
    asyncio.get_running_loop().add_reader(0, server.told)
    print("ready", flush=True)
    await server.act()


asyncio.run(main())
