"""Is every operation open to exactly those whom the reviewed table names, over the socket and over TCP?"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import msgspec
import pytest
from msgspec.structs import replace

from eleagent import errors
from eleagent.operations.operation import Operation
from eleagent.operations.table import OPERATIONS
from eleagent.permissions import Permission, Role
from eleagent.roles import KEY_GROUPS
from eleagent_daemon.identity.sessiontokens import SessionTokens
from eleagent_daemon.identity.throttle import Addresses
from eleagent_daemon.store.people import UserState
from eleagent_daemon.store.projects import ProjectRow

from .conftest import PASSWORD, Answered, House, house
from .matrix import NOBODIES, PRINCIPALS, PROJECT, cells, objects, resolve
from .reviewed import review
from .test_pipeline import body_of

REACHED = errors.Conflict("it was reached")


ON = {"API_KEY": "key"}
"""Kinds that people call otherwise."""


def test_every_operation_was_reviewed_and_no_other() -> None:
    assert {operation.id for operation in OPERATIONS} == set(review().rules), (
        "write it into tests/api/data/authorisation.txt"
    )


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_operation_is_open_to_whom_the_review_says(operation: Operation) -> None:
    rule = review().rules[operation.id]
    assert rule.to == (ON.get(operation.target.name, operation.target.name.lower()) if operation.target else "-")
    assert wrong(operation) == []


def wrong(operation: Operation) -> list[str]:
    """Where it is not as it was reviewed."""
    return [
        f"{one} {name}: {found}, not {expected}"
        for (name, one), found in cells(operation).items()
        if found != (expected := review().expected(operation.id, one, name))
    ]


MUTANTS = {
    "open to everybody": lambda operation: replace(operation, anyone=True),
    "held by everybody": lambda operation: replace(operation, permission=Permission.SELF_READ),
    "from anywhere": lambda operation: replace(operation, here=False),
    "without a fresh password": lambda operation: replace(operation, step_up=False),
    "whoever's it is": lambda operation: replace(
        operation, identifies=None, path=re.sub(r"{\w+}", "{name}", operation.path, count=1)
    ),
}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_review_turns_red_when_a_declaration_is_weakened(operation: Operation) -> None:
    killed = 0
    for name, mutate in MUTANTS.items():
        mutant = mutate(operation)
        if mutant == operation or cells(mutant) == cells(operation):
            continue  # it is no weaker: it was so before, or nobody is kept out by it
        assert wrong(mutant), f"{operation.id} {name} goes unnoticed"
        killed += 1
    assert killed or operation.anyone


class Patient(Addresses):
    """One who lets everybody try for ever: what is tried here is not guessing."""

    def check(self, address: str) -> None:
        pass


@pytest.fixture
async def running() -> AsyncIterator[tuple[House, dict[str, str | None]]]:
    """The app with every handler scripted, and what each principal comes with."""
    async with house(resolve=resolve, scripted=True, addresses=Patient()) as home:
        for name, role in (("adam", Role.ADMIN), ("bob", Role.MEMBER), ("carol", Role.ADMIN), ("robot", Role.AGENT),
                           ("dora", Role.ADMIN), ("eve", Role.MEMBER)):  # fmt: skip
            await home.add(name, role)
        users = ["ada", "adam", "bob", "carol", "robot"]
        await home.identity.project_rows.create(ProjectRow(name=PROJECT, owner="eve", created="", users=users))
        logins = home.identity.logins

        async def access(user: str) -> tuple[str, str]:
            tokens, _ = await logins.login(user, PASSWORD, address="", note="")
            return tokens.access, tokens.login

        tokens = SessionTokens(keyring=home.identity.keyring)
        sent: dict[str, str | None] = {
            "nobody": None, "malformed": "a.b.c", "session": tokens.of("s-aaaaaaaaaa", 1)[0]
        }  # fmt: skip
        for name, user in (("owner", "ada"), ("stale", "ada"), ("admin", "adam"), ("member", "bob"),
                           ("demoted", "carol"), ("agent", "robot"), ("disabled", "dora"), ("revoked", "ada"),
                           ("expired", "ada")):  # fmt: skip
            sent[name], login = await access(user)
            if name in ("stale", "expired"):
                old = logins._rows._rows[login]
                ago = 301.0 if name == "stale" else 50_000.0
                logins._rows._rows[login] = msgspec.structs.replace(
                    old, confirmed=old.confirmed - ago, seen=old.seen - (ago if name == "expired" else 0)
                )
            if name == "revoked":
                await logins.end(login, why="")
        for group in KEY_GROUPS:
            maker = home.people.get("bob")
            wanted = msgspec.convert({"note": "x", "group": group}, _key_type())
            _, sent[group] = await home.identity.keys.make(wanted, maker, {})
        await home.people.update_user("carol", role=Role.MEMBER)
        await home.people.update_user("dora", state=UserState.DISABLED)
        yield home, sent


def _key_type() -> type:
    from eleagent.wire.keys import ApiKeyCreate

    return ApiKeyCreate


def cell(answer: Answered) -> str:
    if answer.json["detail"] == REACHED.message:
        return "ok"
    return "up" if answer.json["code"] == "step_up" else str(answer.status)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", ["socket", "tcp"])
async def test_matrix_is_what_the_running_app_does(running: tuple[House, dict[str, str | None]], way: str) -> None:
    home, sent = running
    home.api.handlers.answers = {operation.id: REACHED for operation in OPERATIONS}

    async def ask(operation: Operation, name: str, token: str | None) -> Answered:
        path = operation.url(**dict.fromkeys(operation.parameters, name))
        if way == "tcp":
            return await home.tcp(operation.method, path, token=token, **body_of(operation))
        headers: dict[str, str | None] = {"Authorization": f"Bearer {token}"}
        return await home.api.request(operation.method, path, headers=headers, **body_of(operation))

    # On the socket the peer itself is somebody: who comes with nothing is nobody over TCP alone.
    principals = [one for one in PRINCIPALS if way == "tcp" or one.name != "nobody"]
    # All at once: who is refused waits for the others of the same name, so that a flood is one record.
    asked = [(operation, name, one) for operation in OPERATIONS for name in objects(operation) for one in principals]
    answers = await asyncio.gather(*(ask(operation, name, sent[one.name]) for operation, name, one in asked))
    wrong = [
        f"{operation.id} {name} {one.name}: {cell(answer)}, not {expected}"
        for (operation, name, one), answer in zip(asked, answers, strict=True)
        if cell(answer) != (expected := review().expected(operation.id, one.name, name))
    ]
    assert wrong == []
    assert set(NOBODIES) <= sent.keys()


@pytest.mark.timeout(60)
async def test_matrix_foreign_is_missing_to_the_byte(running: tuple[House, dict[str, str | None]]) -> None:
    home, sent = running
    for operation in OPERATIONS:
        if operation.target is None:
            continue
        told = set()
        for name in ("foreign", "missing"):
            path = operation.url(**dict.fromkeys(operation.parameters, name))
            answer = await home.tcp(operation.method, path, token=sent["member"], **body_of(operation))
            body = re.sub(rb"request:[0-9a-f]+", b"", answer.body.replace(name.encode(), b"NAME"))
            told.add((answer.status, body))
        statuses = {status for status, _ in told}
        assert statuses <= {404, 403}
        assert len(told) == 1, operation.id
