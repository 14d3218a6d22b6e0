"""Do the commands on users, logins and the organization say what was typed, and show what was answered?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from eleagent.operations.keys import KEY_CREATE
from eleagent.operations.operation import Operation
from eleagent.operations.organization import KEYS_ROTATE, ORGANIZATION_DELETE, ORGANIZATION_INIT, ORGANIZATION_TRANSFER
from eleagent.operations.sessions import SESSION_EVENTS
from eleagent.operations.users import (
    LOGIN_REVOKE,
    USER_ADMINISTER,
    USER_CREATE,
    USER_DELETE,
    USER_PASSWORD,
    USER_UPDATE,
)
from eleagent.wire.keys import ApiKey, ApiKeyList, ApiKeyMade
from eleagent.wire.logins import Login, LoginEnded, LoginList
from eleagent.wire.projects import Project, ProjectList
from eleagent.wire.system import KeysRotated
from eleagent.wire.users import Organization, User, UserList

from .conftest import CommandLine
from .fakedaemon import KEY, NOW, Call, FakeSession, created, ended

BOB = User(
    id="u-1", name="bob", role="member", state="active", source="given", created=NOW, unix_user="bob", password=True
)
ACME = Organization(id="default", name="Acme", created=NOW, initialized=NOW, members=2, owners=["ada", "eve"])


@pytest.fixture
def members(eleagent: CommandLine) -> CommandLine:
    for operation in (USER_CREATE, USER_UPDATE, USER_ADMINISTER, USER_PASSWORD, USER_DELETE, ORGANIZATION_INIT):
        eleagent.daemon.scripts[operation.id] = lambda _: BOB
    for name in ("organization_get", "organization_update", "organization_transfer", "organization_delete"):
        eleagent.daemon.scripts[name] = lambda _: ACME
    eleagent.daemon.scripts["user_list"] = lambda _: UserList([BOB])
    eleagent.daemon.scripts["user_get"] = lambda _: BOB
    eleagent.daemon.scripts["keys_rotate"] = lambda _: KeysRotated(key="0a", logins_ended=3)
    return eleagent


@pytest.mark.parametrize(
    ("words", "stdin", "operation", "body"),
    [
        ("init --org Acme --user bob", "", ORGANIZATION_INIT, {"name": "Acme", "user": "bob"}),
        ("init --org Acme --user bob --password-stdin", "p w\n", ORGANIZATION_INIT, {"password": "p w"}),
        ("user add bob", "", USER_CREATE, {"name": "bob", "role": "member", "password": None}),
        ("user add bob --role admin --unix-user b", "", USER_CREATE, {"role": "admin", "unix_user": "b"}),
        ("user edit bob --full-name B", "", USER_UPDATE, {"full_name": "B"}),
        ("user edit bob --role owner --disable", "", USER_ADMINISTER, {"role": "owner", "state": "disabled"}),
        ("user edit bob --enable --unlock --unix-user=", "", USER_ADMINISTER,
         {"state": "active", "unlock": True, "unix_user": ""}),
        ("user passwd bob --password-stdin", " a password \n", USER_PASSWORD, {"password": " a password "}),
        ("user rm bob", "", USER_DELETE, None),
        ("org transfer bob", "", ORGANIZATION_TRANSFER, {"user": "bob"}),
        ("org rm --name Acme", "", ORGANIZATION_DELETE, {"name": "Acme"}),
        ("daemon rotate-keys --at-once", "", KEYS_ROTATE, {"at_once": True}),
    ],
)  # fmt: skip
def test_members_command_says_what_was_typed(
    members: CommandLine, words: str, stdin: str, operation: Operation, body: dict[str, Any] | None
) -> None:
    done = members(*words.split(), stdin=stdin.encode())
    assert (done.code, done.err if "init" not in words else "") == (0, "")
    (call,) = members.daemon.called(operation)
    if body is not None:
        said = json.loads(call.body)
        assert {name: said[name] for name in body} == body
    assert members(*words.split(), "--json", stdin=stdin.encode()).code == 0


def test_members_are_shown(members: CommandLine) -> None:
    listed = members("users", "ls")
    assert listed.out.splitlines()[1].split() == ["bob", "member", "active", "socket", "as", "bob,", "password"]
    assert members("user", "ls", "-q").out == "bob\n"
    assert "owners      ada, eve\n" in members("org", "show").out
    assert json.loads(members("user", "show", "bob", "--json").out)["name"] == "bob"


def test_members_edit_of_nothing_is_a_usage_error(members: CommandLine) -> None:
    done = members("user", "edit", "bob")
    assert (done.code, "nothing to change" in done.err) == (2, True)


def test_members_password_that_is_not_there_is_asked_of_nobody(members: CommandLine) -> None:
    done = members("user", "passwd", "bob")
    assert (done.code, "no password on standard input" in done.err) == (2, True)


def test_logins_are_listed_and_ended(eleagent: CommandLine) -> None:
    one = Login(
        id="AbC123", user="bob", created=NOW, confirmed=NOW, seen=NOW, expires=NOW, address="192.0.2.1", current=True
    )
    eleagent.daemon.scripts["login_list"] = lambda _: LoginList([one])

    def end(call: Call) -> LoginEnded:
        return LoginEnded(call.path["login"])

    eleagent.daemon.scripts[LOGIN_REVOKE.id] = end
    assert "AbC123 (this one)" in eleagent("login", "ls").out
    assert eleagent("login", "revoke", "AbC123").out == "login AbC123 has ended\n"


def test_key_is_the_one_line_on_standard_output(eleagent: CommandLine) -> None:
    key = ApiKey(
        id="AbC", user="bob", note="ci", group="ci_cd", created=NOW, expires=NOW, agents=["claude"], sessions=2
    )
    eleagent.daemon.scripts["api_key_make"] = lambda _: ApiKeyMade(key=key, secret="eak_AbC_x")
    eleagent.daemon.scripts["api_key_list"] = lambda _: ApiKeyList([key])
    eleagent.daemon.scripts["api_key_revoke"] = lambda _: key
    done = eleagent("key", "create", "ci", "--group", "ci_cd", "--agent", "claude", "--sessions", "2", "--days", "7")
    assert (done.code, done.out) == (0, "eak_AbC_x\n")
    (call,) = eleagent.daemon.called(KEY_CREATE)
    said = json.loads(call.body)
    assert (said["note"], said["group"], said["agents"], said["sessions"], said["days"]) == (
        "ci",
        "ci_cd",
        ["claude"],
        2,
        7,
    )
    assert eleagent("keys", "ls").out.splitlines()[1].split()[:4] == ["AbC", "bob", "ci_cd", "claude,"]
    assert eleagent("key", "revoke", "AbC").out == "key AbC (ci) has ended\n"


APOLLO = Project(name="apollo", owner="bob", created=NOW, users=["bob"], groups=["eng"], agents=["claude"])


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("create apollo --agent claude --sessions 3", {"name": "apollo", "agents": ["claude"], "sessions": 3}),
        ("edit apollo --sessions 0 --restore", {"sessions": 0, "archived": False, "agents": None}),
        ("edit apollo --agent=", {"agents": []}),
        ("archive apollo", {"archived": True}),
        ("member add apollo ada @eng", {"add_users": ["ada"], "add_groups": ["eng"], "remove_users": []}),
        ("member rm apollo @eng", {"remove_groups": ["eng"], "add_users": []}),
    ],
)
def test_project_command_says_what_was_typed(eleagent: CommandLine, words: str, body: dict[str, Any]) -> None:
    for name in ("project_make", "project_update", "project_members"):
        eleagent.daemon.scripts[name] = lambda _: APOLLO
    done = eleagent("project", *words.split())
    assert (done.code, done.err) == (0, "")
    (call,) = eleagent.daemon.calls
    said = json.loads(call.body)
    assert {name: said[name] for name in body} == body


def test_projects_are_shown(eleagent: CommandLine) -> None:
    eleagent.daemon.scripts["project_get"] = lambda _: APOLLO
    eleagent.daemon.scripts["project_list"] = lambda _: ProjectList([APOLLO])
    assert "apollo  bob    bob, @eng" in eleagent("projects", "ls").out
    assert eleagent("project", "ls", "-q").out == "apollo\n"
    assert "groups      eng" in eleagent("project", "show", "apollo").out
    assert eleagent("project", "edit", "apollo").code == 2


def test_because_says_why_what_is_others_is_read(eleagent: CommandLine) -> None:
    eleagent.serve(FakeSession(created(), ended()))
    assert eleagent("logs", KEY, "--because", "an incident").code == 0
    (call,) = eleagent.daemon.called(SESSION_EVENTS)
    assert call.query["reason"] == "an incident"
    assert all("reason" not in call.query for call in eleagent.daemon.calls if call.operation != SESSION_EVENTS.id)
