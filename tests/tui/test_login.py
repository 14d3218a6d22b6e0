"""Can one log in to a daemon behind HTTPS from the full-screen client, and give the password once more?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from eleagent.client.address import parse_host
from eleagent.client.aio import AsyncClient
from eleagent.client.credentials import Credentials
from eleagent.client.remote import Web
from eleagent.errors import StepUp
from eleagent.operations.approvals import APPROVAL_ANSWER
from eleagent_tui.app import EleAgent
from eleagent_tui.keep import Kept

from ..cli.fakedaemon import Call
from ..cli.webdaemon import PASSWORD, Authority, WebDaemon
from .conftest import SMALL, Tui
from .scripted import STORY, Scene, question, session


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebDaemon]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("ELEAGENT_API_KEY", raising=False)
    authority = Authority(tmp_path)
    with WebDaemon(tmp_path / "unused", tls=authority.server_tls()) as daemon:
        yield daemon


@asynccontextmanager
async def opened(web: WebDaemon, folder: Path) -> AsyncIterator[Tui]:
    address = parse_host(web.url, cacert=str(folder / "ca.pem"))
    assert isinstance(address, Web)
    app = EleAgent(
        connect=lambda ask: AsyncClient(at=address, ask_password=ask),
        where=str(address), host=str(address), kept=Kept(), web=address, poll_s=0.1,
    )  # fmt: skip
    async with app.run_test(size=SMALL) as pilot:
        yield Tui(app, pilot)


async def log_in(seen: Tui, password: str) -> None:
    await seen.until("Log in at https://127.0.0.1")
    await seen.press("ctrl+u", *"ada", "enter")
    await seen.until("Password of ada:")
    await seen.press(*password, "enter")


async def test_who_is_not_logged_in_is_asked_and_goes_on(web: WebDaemon, tmp_path: Path) -> None:
    Scene(web).add(session(1), *STORY)
    async with opened(web, tmp_path) as seen:
        await log_in(seen, "wrong")
        await seen.until("user or password is wrong")
        assert "not logged in" in seen.rows[0]
        await seen.press("L")
        await log_in(seen, PASSWORD)
        await seen.until("able-otter-1")
        assert PASSWORD not in seen.screen
        web.access.clear()
        web.refresh.clear()
        await log_in(seen, PASSWORD)
        await seen.until(lambda: "not logged in" not in seen.rows[0])
        assert seen.app.web is not None
        stored = Credentials(seen.app.web).find()
        assert stored is not None
        assert stored.tokens is not None


async def test_password_is_asked_once_more_where_the_daemon_wants_it(web: WebDaemon, tmp_path: Path) -> None:
    scene = Scene(web)
    scene.approvals = {"a-1": question(1)}
    answer = web.scripts["approval_answer"]

    def guarded(call: Call) -> object:
        if not web.fresh:
            raise StepUp("to allow for always takes your password")
        return answer(call)

    web.scripts["approval_answer"] = guarded
    async with opened(web, tmp_path) as seen:
        await log_in(seen, PASSWORD)
        await seen.until("logged in as ada")
        await seen.press("2")
        await seen.until("end of the request")
        await seen.pilot.pause(1.2)
        await seen.press("W")
        await seen.until("takes your password. Password:")
        await seen.press("escape")
        await seen.until(lambda: "Password:" not in seen.screen)
        assert scene.approvals
        await seen.pilot.pause(1.1)
        await seen.press("W")
        await seen.until("Password:")
        await seen.press(*PASSWORD)
        assert PASSWORD not in seen.screen
        await seen.press("enter")
        await seen.until("allowed for always")
    assert len(web.called(APPROVAL_ANSWER)) == 3


async def test_where_the_kernel_says_who_calls_there_is_nothing_to_log_in_to(scene: Scene, tui: object) -> None:
    async with tui() as seen:  # type: ignore[operator]
        await seen.until("n starts one")
        await seen.press("L")
        await seen.until("there is nothing to log in to")
