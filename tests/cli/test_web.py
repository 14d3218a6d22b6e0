"""Does everything work over HTTPS as it does here, is nobody trusted who should not be, and does no secret get out?"""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eleagent.client.aio import AsyncClient
from eleagent.client.api import Client
from eleagent.client.remote import Web
from eleagent.errors import NotFound, StepUp, Unauthenticated
from eleagent.operations.table import BY_ID
from eleagent.wire import events as ev
from eleagent.wire.agents import Agent
from eleagent.wire.sessions import SessionList
from eleagent.wire.timeline import Event

from .conftest import CommandLine, Done
from .fakedaemon import KEY, Break, Call, FakeSession, created, ended
from .webdaemon import API_KEY, PASSWORD, Authority, WebDaemon, serving

SECRETS = (PASSWORD, API_KEY, "access-secret", "refresh-secret")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def daemon(authority: Authority, tmp_path: Path) -> Iterator[WebDaemon]:
    with serving(tmp_path, authority.server_tls()) as started:
        started.scripts["session_list"] = lambda call: SessionList([])
        yield started


@pytest.fixture
def eleagent(daemon: WebDaemon, tmp_path: Path) -> CommandLine:
    """A client that knows nothing yet but its folder."""
    line = CommandLine(daemon, tmp_path)
    del line.env["ELEAGENT_HOST"]
    line.env |= {"XDG_CONFIG_HOME": str(tmp_path / "config"), "ELEAGENT_HOME": str(tmp_path / "none")}
    return line


@pytest.fixture
def ada(eleagent: CommandLine, authority: Authority) -> CommandLine:
    """The same, logged in."""
    assert log_in(eleagent, authority).code == 0
    return eleagent


def log_in(eleagent: CommandLine, authority: Authority, password: str = PASSWORD) -> Done:
    url = eleagent.daemon.url  # type: ignore[attr-defined]
    flags = ("--user", "ada", "--password-stdin", "--cacert", str(authority.cacert))
    return eleagent("login", url, *flags, stdin=f"{password}\n".encode())


def kept(eleagent: CommandLine, name: str = "credentials.json") -> Path:
    return eleagent.folder / "config" / "eleagent" / name


def at(daemon: WebDaemon, authority: Authority) -> Web:
    return Web("127.0.0.1", daemon.port, cacert=str(authority.cacert))


# Logging in and out


def test_login_is_kept_for_its_owner_alone_and_used_from_then_on(
    eleagent: CommandLine, daemon: WebDaemon, authority: Authority
) -> None:
    done = log_in(eleagent, authority)
    assert (done.code, done.out) == (0, "")
    assert done.err == f"logged in at {daemon.url} as ada; in use as context 127.0.0.1\n"
    assert kept(eleagent).stat().st_mode & 0o777 == 0o600
    assert eleagent("ps", "--json").code == 0
    assert json.loads(eleagent("whoami", "--json").out)["user"] == "ada"
    assert "ada (member of Acme)" in eleagent("whoami").out


def test_logout_ends_the_login_there_and_here(ada: CommandLine, daemon: WebDaemon) -> None:
    assert ada("logout").err == f"logged out at {daemon.url}\n"
    assert not daemon.access
    assert "secret" not in kept(ada).read_text()
    done = ada("ps")
    assert (done.code, done.err) == (
        126,
        f"eleagent: you are not logged in at {daemon.url}: eleagent login {daemon.url}\n",
    )
    assert ada("logout").err == f"eleagent: you are not logged in at {daemon.url}\n"


def test_wrong_password_is_the_daemons_word_and_nothing_is_kept(eleagent: CommandLine, authority: Authority) -> None:
    done = log_in(eleagent, authority, "wrong")
    assert (done.code, done.err) == (126, "eleagent: user or password is wrong\n")
    assert not kept(eleagent).exists()
    assert not kept(eleagent, "contexts.json").exists()


def test_password_is_asked_on_the_terminal_and_not_shown(
    eleagent: CommandLine, daemon: WebDaemon, authority: Authority
) -> None:
    terminal = eleagent.on_terminal("login", daemon.url, "-u", "ada", "--cacert", str(authority.cacert))
    terminal.read_until(f"Password of ada at {daemon.url}: ")
    terminal.type(f"{PASSWORD}\n")
    assert terminal.wait() == 0
    assert PASSWORD.encode() not in terminal.seen


def test_login_without_a_terminal_says_how(eleagent: CommandLine, daemon: WebDaemon, authority: Authority) -> None:
    command = eleagent.command("login", daemon.url, "--cacert", str(authority.cacert))
    done = subprocess.run(
        command, env=eleagent.env, capture_output=True, text=True, stdin=subprocess.DEVNULL, start_new_session=True
    )
    assert done.returncode == 2
    assert done.stderr == "eleagent: there is no terminal to ask for the password on: use --password-stdin\n"


def test_login_where_the_kernel_says_who_one_is(eleagent: CommandLine) -> None:
    done = eleagent("--host", "unix:///run/x.sock", "login")
    assert done.code == 2
    assert "at unix:///run/x.sock the kernel says who you are" in done.err


def test_key_from_stdin_is_tried_before_it_is_kept(
    eleagent: CommandLine, daemon: WebDaemon, authority: Authority
) -> None:
    flags = ("login", daemon.url, "--key-stdin", "--cacert", str(authority.cacert))
    assert eleagent(*flags, stdin=b"hunter2\n").code == 2
    assert eleagent(*flags, stdin=API_KEY.replace("ssss", "tttt").encode()).code == 126
    assert "eak_" not in (kept(eleagent).read_text() if kept(eleagent).exists() else "")
    assert eleagent(*flags, stdin=f"{API_KEY}\n".encode()).code == 0
    assert eleagent("ps", "--json").code == 0
    assert daemon.calls[-1].headers["Authorization"] == f"Bearer {API_KEY}"


def test_key_of_the_environment_goes_before_the_login(ada: CommandLine, daemon: WebDaemon) -> None:
    assert ada("ps", "--json", ELEAGENT_API_KEY=API_KEY).code == 0
    assert daemon.calls[-1].headers["Authorization"] == f"Bearer {API_KEY}"
    refused = ada("ps", ELEAGENT_API_KEY=API_KEY[:-1] + "x")
    assert (refused.code, refused.err) == (126, "eleagent: who is calling is not known\n")


# Tokens that end


def test_access_token_that_ends_is_renewed_once_for_all_who_come(ada: CommandLine, daemon: WebDaemon) -> None:
    expire(ada)
    clients = [ada.start("ps", "--json") for _ in range(4)]
    for client in clients:
        _, err = client.communicate(timeout=30)
        assert (client.returncode, err) == (0, b"")
    assert daemon.refreshed == 1


def test_access_token_that_is_refused_is_renewed_and_asked_with_again(ada: CommandLine, daemon: WebDaemon) -> None:
    daemon.access.clear()
    assert ada("ps", "--json").code == 0
    assert daemon.refreshed == 1


def test_login_that_is_over_is_said_and_forgotten(ada: CommandLine, daemon: WebDaemon) -> None:
    daemon.access.clear()
    daemon.refresh.clear()
    done = ada("ps")
    assert (done.code, done.err) == (
        126,
        f"eleagent: your login at {daemon.url} is over: eleagent login {daemon.url}\n",
    )
    assert "secret" not in kept(ada).read_text()


def test_credentials_that_others_may_read_are_not_used(ada: CommandLine) -> None:
    kept(ada).chmod(0o640)
    done = ada("ps")
    assert done.code == 2
    assert f"may be read by others (mode 640): chmod 600 {kept(ada)}" in done.err


def expire(eleagent: CommandLine) -> None:
    stored = json.loads(kept(eleagent).read_text())
    for login in stored["logins"].values():
        login["tokens"]["access_expires"] = "2026-01-01T00:00:00+00:00"
    kept(eleagent).write_text(json.dumps(stored))


@pytest.mark.parametrize("arguments", [("ps",), ("whoami", "--json"), ("--json", "ps"), ("context", "ls"), ("logout",)])
def test_no_secret_is_shown_whatever_happens(ada: CommandLine, daemon: WebDaemon, arguments: tuple[str, ...]) -> None:
    daemon.stop()
    done = ada(*arguments, PYTHONDEVMODE="0")
    assert not [secret for secret in SECRETS if secret in done.out + done.err]


# Streams and files


def follow_sync(address: Web) -> list[int]:
    return [item.seq for item in Client(at=address).follow(KEY) if isinstance(item, Event)]


def follow_async(address: Web) -> list[int]:
    async def follow() -> list[int]:
        async with AsyncClient(at=address) as client:
            return [item.seq async for item in client.follow(KEY) if isinstance(item, Event)]

    return asyncio.run(follow())


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This process has a key."""
    monkeypatch.setenv("ELEAGENT_API_KEY", API_KEY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.mark.parametrize("follow", [follow_sync, follow_async])
@pytest.mark.usefixtures("known")
def test_follow_over_https_resumes_torn_streams_without_loss_or_repeat(
    daemon: WebDaemon, authority: Authority, follow: Callable[[Web], list[int]]
) -> None:
    session = FakeSession(created(), *[ev.AgentMessage(f"{number}") for number in range(8)], ended())
    daemon.scripts |= session.scripts()

    def torn(call: Call) -> Iterator[Any]:
        after = int(call.query["after"])
        yield from session.events[after : after + 4]
        if after < 8:
            raise Break

    daemon.scripts["session_events"] = torn
    assert follow(at(daemon, authority)) == list(range(1, 11))


@pytest.mark.usefixtures("known")
def test_files_go_over_https_whole_both_ways(daemon: WebDaemon, authority: Authority, tmp_path: Path) -> None:
    content = bytes(range(256)) * 8000
    path = tmp_path / "binary"
    path.write_bytes(content)
    daemon.scripts["agent_install"] = lambda call: Agent(name=call.path["name"], adapter="claude", image="i")
    daemon.scripts["artefact_get"] = lambda call: iter([content[:1_000_000], content[1_000_000:]])
    client = Client(at=at(daemon, authority))
    with path.open("rb") as file:
        client.upload(BY_ID["agent_install"], file, size_bytes=len(content), name="claude")
    assert daemon.calls[0].body == content
    assert b"".join(client.download(BY_ID["artefact_get"], query={"path": "x"}, key=KEY)) == content


def test_upload_whose_token_was_refused_is_sent_again_whole(
    ada: CommandLine, daemon: WebDaemon, authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", ada.env["XDG_CONFIG_HOME"])
    daemon.access.clear()
    daemon.scripts["agent_install"] = lambda call: Agent(name=call.path["name"], adapter="claude", image="i")
    path = tmp_path / "binary"
    path.write_bytes(b"x" * 300_000)
    with path.open("rb") as file:
        Client(at=at(daemon, authority)).upload(BY_ID["agent_install"], file, size_bytes=300_000, name="claude")
    assert daemon.calls[-1].body == path.read_bytes()


def test_async_client_renews_and_raises_like_the_other(
    ada: CommandLine, daemon: WebDaemon, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", ada.env["XDG_CONFIG_HOME"])
    daemon.access.clear()

    async def ask() -> None:
        async with AsyncClient(at=at(daemon, authority)) as client:
            assert (await client.call(BY_ID["session_list"])).sessions == []
            with pytest.raises(NotFound):
                await client.call(BY_ID["status"])
            daemon.access.clear()
            daemon.refresh.clear()
            with pytest.raises(Unauthenticated, match="is over: eleagent login"):
                await client.call(BY_ID["session_list"])

    asyncio.run(ask())
    assert daemon.refreshed == 1


# Who is not trusted, and what is not there


# The password once more


def test_password_is_asked_once_more_where_it_must_be_fresh(ada: CommandLine, daemon: WebDaemon) -> None:
    terminal = ada.on_terminal("user", "rm", "bob")
    terminal.read_until("user.delete takes a password that was given in the last 5 minutes.")
    terminal.read_until(f"Your password at {daemon.url}: ")
    terminal.type(f"{PASSWORD}\n")
    assert terminal.wait() == 0
    assert PASSWORD.encode() not in terminal.seen
    assert [call.operation for call in daemon.calls].count("login_confirm") == 1


def test_wrong_password_is_given_once_and_nothing_is_done(ada: CommandLine, daemon: WebDaemon) -> None:
    terminal = ada.on_terminal("user", "rm", "bob")
    terminal.read_until(f"Your password at {daemon.url}: ")
    terminal.type("wrong\n")
    terminal.read_until("user or password is wrong")
    assert terminal.wait() == 126
    assert [call.operation for call in daemon.calls if call.operation.startswith(("login_c", "login_r", "user"))] == [
        "user_delete", "login_confirm",
    ]  # fmt: skip


def test_script_is_told_in_one_line_how_to_give_the_password(ada: CommandLine, daemon: WebDaemon) -> None:
    done = subprocess.run(
        ada.command("user", "rm", "bob"), env=ada.env, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 126
    assert done.stderr == (
        "eleagent: user.delete takes a password that was given in the last 5 minutes, and there is no terminal to ask"
        f" for it on: eleagent login {daemon.url} --password-stdin gives it\n"
    )


@pytest.mark.parametrize("said", [PASSWORD, "wrong", None])
def test_async_client_asks_for_the_password_as_the_other_does(
    ada: CommandLine, daemon: WebDaemon, authority: Authority, monkeypatch: pytest.MonkeyPatch, said: str | None
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", ada.env["XDG_CONFIG_HOME"])

    async def say(why: StepUp) -> str:
        assert "user.delete" in why.message
        return str(said)

    async def ask() -> None:
        async with AsyncClient(at=at(daemon, authority), ask_password=say if said else None) as client:
            assert (await client.call(BY_ID["user_delete"], user="bob")).name == "bob"

    if said == PASSWORD:
        asyncio.run(ask())
        return
    with pytest.raises(Unauthenticated if said else StepUp):
        asyncio.run(ask())


def refused(eleagent: CommandLine, *arguments: str) -> str:
    done = eleagent(*arguments, ELEAGENT_API_KEY=API_KEY)
    assert (done.code, done.err.count("\n")) == (125, 1)
    assert API_KEY not in done.err
    return done.err


def test_unknown_authority_is_refused_before_anything_is_said(eleagent: CommandLine, daemon: WebDaemon) -> None:
    said = refused(eleagent, "--host", daemon.url, "ps")
    assert said.startswith(f"eleagent: {daemon.url} is not trusted: ")
    assert "--cacert FILE" in said
    assert not daemon.calls


def test_certificate_of_another_name_is_refused(eleagent: CommandLine, authority: Authority, tmp_path: Path) -> None:
    with serving(tmp_path, authority.server_tls(address=None, name="other.example.net")) as other:
        said = refused(eleagent, "--host", other.url, "--cacert", str(authority.cacert), "ps")
        assert "is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'" in said
        assert not other.calls


def test_server_that_speaks_no_tls_is_named(eleagent: CommandLine, authority: Authority, tmp_path: Path) -> None:
    with serving(tmp_path, None) as plain:
        said = refused(eleagent, "--host", f"https://127.0.0.1:{plain.port}", "ps")
    assert "does not speak TLS: is the port right?" in said


def test_plain_http_is_for_loopback(eleagent: CommandLine, tmp_path: Path) -> None:
    with serving(tmp_path, None) as plain:
        plain.scripts["session_list"] = lambda call: SessionList([])
        assert eleagent("--host", plain.url, "ps", "--json", ELEAGENT_API_KEY=API_KEY).code == 0
        assert plain.calls[0].headers["Host"] == f"127.0.0.1:{plain.port}"


def test_name_that_nobody_has_is_said(eleagent: CommandLine) -> None:
    assert "there is no server of the name nobody.invalid" in refused(
        eleagent, "--host", "https://nobody.invalid", "ps"
    )


def test_server_that_does_not_run_is_said(eleagent: CommandLine, daemon: WebDaemon) -> None:
    daemon.stop()
    assert f"nothing answers at {daemon.url}" in refused(eleagent, "--host", daemon.url, "ps")


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), ("nothing", "holds no certificate in PEM form")])
def test_authorities_that_cannot_be_read_are_named(
    eleagent: CommandLine, daemon: WebDaemon, tmp_path: Path, content: str | None, says: str
) -> None:
    if content:
        (tmp_path / "ca").write_text(content)
    done = eleagent("--host", daemon.url, "--cacert", str(tmp_path / "ca"), "ps")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert says in done.err


def test_another_server_there_is_no_daemon(eleagent: CommandLine, tmp_path: Path) -> None:
    import http.server

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        said = refused(eleagent, "--host", f"http://127.0.0.1:{server.server_address[1]}", "ps")
    assert "no EleAgent daemon" in said
