"""Does every request pass every step of the pipeline, in its order?"""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager
from typing import Any

import msgspec
import pytest

from eleagent import errors
from eleagent.operations.operation import Kind, Operation
from eleagent.operations.sessions import SESSION_CREATE, SESSION_INPUT, SESSION_RESUME
from eleagent.operations.table import OPERATIONS
from eleagent.permissions import Permission, Role
from eleagent.roles import grants
from eleagent.version import VERSION_HEADER, __version__
from eleagent.wire.sessions import PROMPT_BODY_BYTES, PROMPT_LIMIT_BYTES, Accepted, SessionStop, State
from eleagent_daemon.api.answer import Stream
from eleagent_daemon.api.identity import Caller
from eleagent_daemon.api.pipeline import Call
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.store.registry import CallerIdentity

from .conftest import Api, serving

KEY = "s-aaaaaaaaaa"
STOP = "/v1/sessions/nightly/stop"
ACCEPTED = Accepted(key=KEY, state=State.STOPPING)
MINOR = ".".join([*__version__.split(".")[:1], str(int(__version__.split(".")[1]) + 2), "0"])


def problem(answer: Any, status: int, code: str) -> str:
    """Check a problem's form (RFC 9457) and return its one clear line."""
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer
    body = answer.json
    assert set(body) == {"type", "title", "status", "detail", "code", "fields", "instance"}
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:eleagent:problem:{code}"
    assert body["instance"].startswith("urn:eleagent:request:")
    assert "\n" not in body["detail"]
    assert answer.headers[VERSION_HEADER] == __version__
    return str(body["detail"])


async def test_pipeline_answers_with_version_and_no_sniffing(api: Api) -> None:
    api.handlers.answers["status"] = {"version": __version__}
    answer = await api.request("GET", "/v1/status")
    assert (answer.status, answer.json) == (200, {"version": __version__})
    assert answer.headers[VERSION_HEADER] == __version__
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert api.records() == [], "reading changes nothing and is not recorded"


# Refusals, in the pipeline's order


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "evil.example:80", "localhost.evil.example", "[::1]:80"])
async def test_pipeline_refuses_a_foreign_host(api: Api, host: str) -> None:
    problem(await api.request("GET", "/v1/status", headers={"Host": host}), 403, "refused")
    assert api.handlers.calls == []


@pytest.mark.parametrize("host", ["eleagent", "localhost", "localhost:8080"])
async def test_pipeline_takes_our_own_host(api: Api, host: str) -> None:
    assert (await api.request("GET", "/v1/status", headers={"Host": host})).status == 200


@pytest.mark.parametrize("origin", ["http://localhost", "null", "https://evil.example", ""])
async def test_pipeline_refuses_any_origin(api: Api, origin: str) -> None:
    problem(await api.request("GET", "/v1/status", headers={"Origin": origin}), 403, "refused")
    assert api.handlers.calls == []


@pytest.mark.parametrize("version", [None, MINOR, "9.0.0", "new", "1", ""])
async def test_pipeline_refuses_another_version_in_one_line(api: Api, version: str | None) -> None:
    answer = await api.request("GET", "/v1/status", headers={VERSION_HEADER: version})
    assert __version__ in problem(answer, 426, "version_skew")
    assert answer.headers["Upgrade"] == f"eleagent/{__version__}"
    assert api.handlers.calls == []


async def test_pipeline_takes_the_next_minor_version(api: Api) -> None:
    major, minor, _ = __version__.split(".")
    headers: dict[str, str | None] = {VERSION_HEADER: f"{major}.{int(minor) + 1}.7"}
    assert (await api.request("GET", "/v1/status", headers=headers)).status == 200


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/sessions?bogus=1", "bogus"),
        ("/v1/status?x=1", "it has none"),
        ("/v1/sessions?limit=1&limit=2", "twice"),
        ("/v1/sessions?limit=many", "'many' is not of type int"),
        ("/v1/sessions?limit=-1", "out of range"),
        ("/v1/sessions?limit=99999999999999999999", "out of range"),
        ("/v1/sessions?all=perhaps", "'perhaps' is not of type bool"),
    ],
)
async def test_pipeline_refuses_a_bad_query(api: Api, path: str, told: str) -> None:
    assert told in problem(await api.request("GET", path), 400, "bad_request")
    assert api.handlers.calls == []


async def test_pipeline_decodes_the_query(api: Api) -> None:
    await api.request("GET", "/v1/sessions?all=1&limit=5")
    await api.request("GET", f"/v1/sessions/{KEY}/artefact?path=007")
    assert [call.query for call in api.handlers.calls] == [{"all": True, "limit": 5}, {"path": "007"}]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "SessionStop"),
        (b"{", "SessionStop"),
        (b"[]", "SessionStop"),
        (b'{"grace_s":"long"}', "grace_s"),
        (b'{"grace":1}', "unknown field `grace`"),
        (b'{"grace_s":1}{}', "SessionStop"),
        (b'{"\xff":1}', "SessionStop"),
        (b"[" * 100_000, "SessionStop"),
    ],
)
async def test_pipeline_refuses_a_bad_body(api: Api, data: bytes, told: str) -> None:
    answer = await api.request("POST", STOP, data=data, headers={"Content-Type": "application/json"})
    assert told in problem(answer, 400, "bad_request")
    assert (api.handlers.calls, api.records()) == ([], [])


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_pipeline_refuses_another_content_type(api: Api, kind: str) -> None:
    answer = await api.request("POST", STOP, data=b"{}", headers={"Content-Type": kind})
    assert kind in problem(answer, 400, "bad_request")


async def test_pipeline_refuses_a_body_where_none_belongs(api: Api) -> None:
    problem(await api.request("POST", f"/v1/sessions/{KEY}/interrupt", data=b"{}"), 400, "bad_request")


async def test_pipeline_refuses_a_body_over_its_limit(api: Api) -> None:
    json_type: dict[str, str | None] = {"Content-Type": "application/json"}
    fits = b'{"grace_s":1}'.ljust(1 << 20)
    api.handlers.answers["session_stop"] = ACCEPTED
    assert (await api.request("POST", STOP, data=io.BytesIO(fits), headers=json_type)).status == 202
    problem(await api.request("POST", STOP, data=io.BytesIO(fits + b" "), headers=json_type), 413, "too_large")

    async def chunks() -> AsyncGenerator[bytes, None]:
        for _ in range(17):
            yield b" " * (1 << 16)

    problem(await api.request("POST", STOP, data=chunks(), headers=json_type), 413, "too_large")
    assert len(api.handlers.calls) == 1


@pytest.mark.parametrize("operation", [SESSION_CREATE, SESSION_INPUT, SESSION_RESUME])
async def test_pipeline_takes_the_longest_prompt_however_it_is_escaped(api: Api, operation: Operation) -> None:
    api.handlers.answers[operation.id] = ACCEPTED
    json_type: dict[str, str | None] = {"Content-Type": "application/json"}
    member = "text" if operation is SESSION_INPUT else "prompt"
    for prompt in ("x" * PROMPT_LIMIT_BYTES, '"\n' * (PROMPT_LIMIT_BYTES // 2), "\1" * PROMPT_LIMIT_BYTES):
        body = io.BytesIO(json.dumps({member: prompt}).encode())
        answer = await api.request(operation.method, operation.url(key=KEY), data=body, headers=json_type)
        assert answer.status == operation.status, answer
        assert getattr(api.handlers.calls[-1].body, member) == prompt
    body = io.BytesIO(b" " * (PROMPT_BODY_BYTES + 1))
    answer = await api.request(operation.method, operation.url(key=KEY), data=body, headers=json_type)
    assert f"{PROMPT_BODY_BYTES} are allowed" in problem(answer, 413, "too_large")


async def test_pipeline_says_which_methods_a_path_is_for(api: Api) -> None:
    answer = await api.request("DELETE", "/v1/sessions")
    assert "/v1/sessions is for GET, POST, not for DELETE" in problem(answer, 405, "wrong_method")
    assert answer.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/v2/status"), ("GET", "/v1/status/")])
async def test_pipeline_unknown_operation_is_a_problem_too(api: Api, method: str, path: str) -> None:
    assert f"{method} {path}" in problem(await api.request(method, path), 404, "not_found")


async def refused(api: Api, count: int) -> list[dict[str, Any]]:
    """The records of refusals, once they are `count`."""
    while len(found := [record for record in api.records() if record["action"] == "caller.refused"]) < count:
        await asyncio.sleep(0.01)
    return found


async def test_pipeline_records_a_foreign_request(api: Api) -> None:
    problem(await api.request("POST", STOP, headers={"Origin": "https://evil.example"}), 403, "refused")
    (record,) = await refused(api, 1)
    assert (record["phase"], record["decision"], record["actor"]) == ("event", "denied", f"uid-{os.getuid()}")
    assert (record["object"], record["details"]["count"]) == ("session.stop", "1")
    assert "web page" in record["details"]["why"]


async def test_pipeline_records_a_flood_of_refusals_as_a_number(api: Api) -> None:
    for path in ("/v1/status", "/nothing"):
        flood = (api.request("GET", path, headers={"Host": "evil.example"}) for _ in range(20))
        assert {answer.status for answer in await asyncio.gather(*flood)} == {403}
    records = await refused(api, 2)
    assert sum(int(record["details"]["count"]) for record in records) == 40
    assert records[0]["details"]["count"] == "1"
    assert len(records) <= 3


async def test_pipeline_refuses_when_the_refusal_cannot_be_recorded(
    api: Api, no_file_beyond: Callable[[int], AbstractContextManager[None]], caplog: pytest.LogCaptureFixture
) -> None:
    with no_file_beyond(0):
        problem(await api.request("GET", "/v1/status", headers={"Host": "evil.example"}), 403, "refused")
    assert "are not recorded" in caplog.text


async def test_pipeline_resolves_what_a_person_calls_a_session(api: Api) -> None:
    api.handlers.answers["session_stop"] = ACCEPTED
    await api.request("POST", STOP, json={"grace_s": 2})
    (call,) = api.handlers.calls
    assert (call.path, call.body, call.token) == ({"key": KEY}, SessionStop(grace_s=2), None)
    assert {record["session"] for record in api.records()} == {KEY}
    problem(await api.request("POST", "/v1/sessions/nobody/stop", json={}), 404, "not_found")


async def test_pipeline_hands_on_the_idempotency_key(api: Api) -> None:
    await api.request("POST", "/v1/sessions", json={"prompt": "x"}, headers={"Idempotency-Key": "k1"})
    assert [call.token for call in api.handlers.calls] == ["k1"]


# What goes wrong


@pytest.mark.parametrize(
    "kind", sorted(errors.BY_CODE.values(), key=lambda kind: kind.code), ids=lambda kind: kind.code
)
async def test_pipeline_error_becomes_its_problem_and_the_same_error_again(
    api: Api, kind: type[errors.EleAgentError]
) -> None:
    api.handlers.answers["session_stop"] = kind("what was wrong", limit=3)
    answer = await api.request("POST", STOP, json={})
    assert problem(answer, kind.status, kind.code) == "what was wrong"
    again = errors.from_problem(answer.json)
    assert (type(again), again.message, again.fields) == (kind, "what was wrong", {"limit": 3})
    decision = "refused" if kind.status < 500 else "allowed"
    assert [record["decision"] for record in api.records()] == ["allowed", decision]
    assert [record["outcome"] for record in api.records()] == ["", kind.code]


async def test_pipeline_internal_error_tells_the_caller_nothing(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.handlers.answers["session_stop"] = RuntimeError("the secret is hunter2")
    answer = await api.request("POST", STOP, json={})
    line = problem(answer, 500, "internal")
    assert b"hunter2" not in answer.body
    assert answer.json["instance"].rpartition(":")[2] in line
    assert answer.json["instance"].rpartition(":")[2] in caplog.text, "the daemon's own log has the rest"
    assert [record["outcome"] for record in api.records()] == ["", "broken_off"]


# The record


async def test_pipeline_intent_is_durable_before_the_act_and_outcome_after(api: Api) -> None:
    seen: list[Any] = []

    async def stop(_: Call) -> Accepted:
        seen.extend(await asyncio.to_thread(api.records))
        return ACCEPTED

    api.handlers.answers["session_stop"] = stop
    assert (await api.request("POST", STOP, json={})).status == 202
    (intent,) = seen
    assert (intent["phase"], intent["action"], intent["decision"]) == ("intent", "session.stop", "allowed")
    assert (intent["object"], intent["session"]) == (KEY, KEY)
    _, outcome = api.records()
    assert (outcome["phase"], outcome["intent"], outcome["outcome"]) == ("outcome", intent["seq"], "done")
    assert outcome["request"] == intent["request"]


async def test_pipeline_outcome_of_a_create_names_the_session(api: Api) -> None:
    api.handlers.answers["session_create"] = ACCEPTED
    await api.request("POST", "/v1/sessions", json={"prompt": "tell nobody"})
    assert [(record["phase"], record["session"]) for record in api.records()] == [("intent", ""), ("outcome", KEY)]
    assert "tell nobody" not in str(api.records())


async def test_pipeline_records_whose_content_was_read(api: Api) -> None:
    api.handlers.answers["artefact_get"] = lambda _: stream(b"x")
    await api.request("GET", f"/v1/sessions/{KEY}/artefact?path=report.csv")
    (record,) = api.records()
    assert (record["phase"], record["action"], record["details"]) == ("event", "artefact.read", {"path": "report.csv"})


async def test_pipeline_act_without_a_record_is_refused_and_taking_away_is_done(
    api: Api, no_file_beyond: Callable[[int], AbstractContextManager[None]]
) -> None:
    api.handlers.answers["session_stop"] = ACCEPTED
    with no_file_beyond(0):
        created = await api.request("POST", "/v1/sessions", json={"prompt": "x"})
        read = await api.request("GET", f"/v1/sessions/{KEY}/events")
        stopped = await api.request("POST", STOP, json={})
        denied = await api.request("POST", "/v1/approvals/a-1/answer", json={"allow": False})
        allowed = await api.request("POST", "/v1/approvals/a-1/answer", json={"allow": True})
        disabled = await api.request("PATCH", "/v1/users/bob/membership", json={"state": "disabled"})
        raised = await api.request("PATCH", "/v1/users/bob/membership", json={"state": "disabled", "role": "owner"})
        listed = await api.request("GET", "/v1/sessions")
    assert "can't be written" in problem(created, 503, "audit_unavailable")
    problem(read, 503, "audit_unavailable")
    problem(allowed, 503, "audit_unavailable")
    problem(raised, 503, "audit_unavailable")
    assert (stopped.status, denied.status, disabled.status, listed.status) == (202, 200, 200, 200)
    done = ["session_stop", "approval_answer", "user_administer", "session_list"]
    assert [call.operation.id for call in api.handlers.calls] == done


def as_role(role: Role) -> Callable[[Any], Caller]:
    return lambda _: Caller(name="mallory", role=role, identity=CallerIdentity(uid=1, gid=1, groups=[]))


@pytest.mark.parametrize("role", Role)
async def test_pipeline_lets_each_role_do_what_the_table_says(role: Role) -> None:
    async with serving(as_role(role)) as api:
        for operation in OPERATIONS:
            path = operation.url(**dict.fromkeys(operation.parameters, KEY))
            api.handlers.answers[operation.id] = errors.Conflict("it was reached")
            answer = await api.request(operation.method, path, **body_of(operation))
            expected = 409 if operation.anyone or operation.permission in grants(role) else 403
            assert answer.status == expected, operation.id
        denied = [record["action"] for record in api.records() if record["decision"] == "denied"]
        assert denied == [one.audit for one in OPERATIONS if not one.anyone and one.permission not in grants(role)]


def body_of(operation: Operation) -> dict[str, Any]:
    """The least that decodes."""
    if operation.body is None:
        return {}
    plain: dict[Any, Any] = {str: "x", bool: True, int: 1, float: 1.0}
    fields = msgspec.structs.fields(operation.body)
    return {"json": {field.name: plain.get(field.type, []) for field in fields if field.required}}


async def test_pipeline_denial_says_what_it_needs_and_is_recorded() -> None:
    async with serving(as_role(Role.AGENT)) as api:
        line = problem(await api.request("POST", "/v1/images", json={"agent": "x"}), 403, "refused")
        assert Permission.IMAGE_BUILD in line
        (record,) = api.records()
        assert (record["actor"], record["action"], record["phase"]) == ("mallory", "image.build", "event")
        assert api.handlers.calls == []


# Whose it is


THINGS = {
    "mine": Owned(id="s-mineminemi", owner="ada", project="zeus", private=True),
    "ours": Owned(id="s-oursoursou", owner="bob", project="apollo"),
    "theirs": Owned(id="s-theirsthei", owner="bob", project="zeus"),
    "secret": Owned(id="s-secretsecr", owner="bob", project="apollo", private=True),
}


async def in_sight(text: str, sight: Sight) -> Owned:
    if text not in THINGS or not sight.reaches(THINGS[text]):
        raise errors.NotFound(f"no session {text!r}")
    return THINGS[text]


def ada(role: Role = Role.MEMBER, **more: Any) -> Callable[[Any], Caller]:
    caller = Caller(
        name="ada", role=role, identity=CallerIdentity(uid=1, gid=1, groups=[]), projects=frozenset({"apollo"}), **more
    )
    return lambda _: caller


@pytest.mark.parametrize(
    ("role", "thing", "seen", "stopped"),
    [
        (Role.MEMBER, "mine", 200, 202),
        (Role.MEMBER, "ours", 200, 403),
        (Role.MEMBER, "theirs", 404, 404),
        (Role.MEMBER, "secret", 404, 404),
        (Role.ADMIN, "theirs", 200, 202),
        (Role.ADMIN, "secret", 200, 202),
        (Role.AGENT, "mine", 200, 202),
        (Role.AGENT, "ours", 404, 404),
    ],
)
async def test_pipeline_reaches_as_far_as_the_permission(role: Role, thing: str, seen: int, stopped: int) -> None:
    async with serving(ada(role), resolve=in_sight) as api:
        api.handlers.answers["session_stop"] = ACCEPTED
        assert (await api.request("GET", f"/v1/sessions/{thing}")).status == seen
        assert (await api.request("POST", f"/v1/sessions/{thing}/stop", json={})).status == stopped
        reached = {call.path["key"] for call in api.handlers.calls}
        assert reached == ({THINGS[thing].id} if seen == 200 else set())


async def test_pipeline_key_bound_to_projects_knows_no_other() -> None:
    async with serving(ada(within=frozenset({"apollo"})), resolve=in_sight) as api:
        assert (await api.request("GET", "/v1/sessions/mine")).status == 404
        assert (await api.request("GET", "/v1/sessions/ours")).status == 200


async def test_pipeline_what_one_may_not_see_is_what_is_not_there() -> None:
    async with serving(ada(), resolve=in_sight) as api:
        for operation in OPERATIONS:
            if operation.target is not Kind.SESSION:
                continue
            answers = []
            for text in ("theirs", "absent"):
                path = operation.url(**(dict.fromkeys(operation.parameters, "1") | {"key": text}))
                answer = await api.request(operation.method, path, **body_of(operation))
                told = answer.body.replace(text.encode(), b"TEXT")
                answers.append((answer.status, re.sub(rb"request:[0-9a-f]+", b"", told)))
                assert {**answer.headers, "Date": "", "Content-Length": ""}.keys() == answer.headers.keys()
            assert answers[0] == answers[1], operation.id
            assert answers[0][0] == 404
        assert api.handlers.calls == []


async def test_pipeline_reading_what_others_said_needs_a_reason_which_is_recorded() -> None:
    async with serving(ada(Role.ADMIN), resolve=in_sight) as api:
        api.handlers.answers["session_events"] = lambda _: stream(b"{}\n")
        for thing, query, status in (
            ("theirs", "", 403), ("theirs", "?reason=%20", 403), ("theirs", "?reason=an%20incident", 200),
            ("mine", "", 200), ("ours", "", 200),
        ):  # fmt: skip
            answer = await api.request("GET", f"/v1/sessions/{thing}/events{query}")
            assert answer.status == status, (thing, query)
        denied, _, allowed, *_ = api.records()
        assert (denied["decision"], denied["object"]) == ("denied", THINGS["theirs"].id)
        assert (allowed["decision"], allowed["details"]) == ("allowed", {"reason": "an incident"})
        assert api.views == [(THINGS["theirs"].id, "ada", "session.read", "an incident")]


class Demoted:
    """A doorkeeper whose one caller becomes another."""

    def __init__(self, caller: Caller) -> None:
        self.caller: Caller | errors.EleAgentError = caller

    async def identify(self, _: Any) -> Caller:
        return self.again(None)

    def again(self, _: Any) -> Caller:
        if isinstance(self.caller, Caller):
            return self.caller
        raise self.caller


@pytest.mark.parametrize("stalled", [False, True])
@pytest.mark.parametrize(
    "becomes", [ada()(None), ada(scopes=frozenset())(None), errors.Unauthenticated("this login was ended")]
)
async def test_pipeline_ends_a_live_stream_of_one_who_may_no_more(
    becomes: Caller | errors.EleAgentError, stalled: bool
) -> None:
    doorkeeper, closed = Demoted(ada(Role.ADMIN)(None)), asyncio.Event()

    async def events(_: Call) -> Stream:
        async def give() -> AsyncGenerator[bytes, None]:
            try:
                yield b"{}\n"
                while stalled:
                    yield b"x" * (1 << 20)
                await asyncio.Event().wait()
            finally:
                closed.set()

        return Stream(give())

    async with serving(doorkeeper, resolve=in_sight) as api:
        api.handlers.answers["session_events"] = events
        reader, writer = await asyncio.open_unix_connection(str(api.socket))
        head = f"GET /v1/sessions/theirs/events?follow=1&reason=x HTTP/1.1\r\nHost: eleagent\r\n{VERSION_HEADER}: "
        writer.write(f"{head}{__version__}\r\n\r\n".encode())
        await reader.readexactly(100)
        doorkeeper.caller = becomes
        await asyncio.wait_for(closed.wait(), 5)
        if not stalled:
            rest = await reader.readuntil(b"0\r\n\r\n")
            assert b'"notice":"error"' in rest
        writer.close()


# Streams


async def stream(*chunks: bytes, error: BaseException | None = None, length: int | None = None) -> Stream:
    async def give() -> AsyncGenerator[bytes, None]:
        for chunk in chunks:
            yield chunk
        if error is not None:
            raise error

    return Stream(give(), length=length)


async def test_pipeline_streams_lines(api: Api) -> None:
    api.handlers.answers["session_events"] = lambda _: stream(b'{"seq":1}\n', b'{"seq":2}\n')
    answer = await api.request("GET", f"/v1/sessions/{KEY}/events")
    assert (answer.headers["Content-Type"], answer.body) == ("application/x-ndjson", b'{"seq":1}\n{"seq":2}\n')


@pytest.mark.parametrize(
    ("error", "told"),
    [(errors.StorageUnavailable("the disk is full"), "the disk is full"), (RuntimeError("hunter2"), "internal error")],
)
async def test_pipeline_stream_that_fails_ends_with_a_notice(api: Api, error: Exception, told: str) -> None:
    api.handlers.answers["session_events"] = lambda _: stream(b'{"seq":1}\n', error=error)
    answer = await api.request("GET", f"/v1/sessions/{KEY}/events")
    first, last = answer.body.splitlines()
    assert (answer.status, first) == (200, b'{"seq":1}')
    assert json.loads(last)["notice"] == "error"
    assert told in json.loads(last)["text"]
    assert b"hunter2" not in last


async def test_pipeline_bytes_that_fail_are_cut_off_and_not_passed_for_whole(api: Api) -> None:
    api.handlers.answers["artefact_get"] = lambda _: stream(b"abc", error=OSError(5, "Input/output error"))
    with pytest.raises(Exception, match=r"payload|Connection|disconnected"):
        await api.request("GET", f"/v1/sessions/{KEY}/artefact?path=x")


async def test_pipeline_outcome_of_a_stream_is_recorded_at_its_end(api: Api) -> None:
    async def build(_: Call) -> Stream:
        async def give() -> AsyncGenerator[bytes, None]:
            yield b"{}\n"
            assert len(await asyncio.to_thread(api.records)) == 1, "the intent alone"
            raise errors.EngineUnavailable("the engine is gone")

        return Stream(give())

    api.handlers.answers["image_build"] = build
    answer = await api.request("POST", "/v1/images", json={"agent": "claude"})
    assert b"the engine is gone" in answer.body
    while len(api.records()) < 2:  # it is written once the stream has ended
        await asyncio.sleep(0.005)
    assert [record["outcome"] for record in api.records()] == ["", "engine_unavailable"]


async def test_pipeline_closes_a_stream_whose_caller_left(api: Api) -> None:
    closed = asyncio.Event()

    async def events(_: Call) -> Stream:
        async def give() -> AsyncGenerator[bytes, None]:
            try:
                while True:
                    yield b"x" * 4096
                    await asyncio.sleep(0.001)
            finally:
                closed.set()

        return Stream(give())

    api.handlers.answers["session_events"] = events
    reader, writer = await asyncio.open_unix_connection(str(api.socket))
    writer.write(
        f"GET /v1/sessions/x/events HTTP/1.1\r\nHost: eleagent\r\n{VERSION_HEADER}: {__version__}\r\n\r\n".encode()
    )
    await reader.readexactly(100)
    writer.close()
    await asyncio.wait_for(closed.wait(), 5)


async def ask_and_leave(api: Api, path: str, *, read: int = 0) -> None:
    """Ask as a client that hangs up after `read` bytes of the answer."""
    reader, writer = await asyncio.open_unix_connection(str(api.socket))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: eleagent\r\n{VERSION_HEADER}: {__version__}\r\n\r\n".encode())
    await reader.readexactly(read)
    writer.close()


async def test_pipeline_closes_a_silent_stream_whose_watcher_left(api: Api) -> None:
    closed = asyncio.Event()

    async def events(_: Call) -> Stream:
        async def give() -> AsyncGenerator[bytes, None]:
            try:
                yield b"{}\n"
                await asyncio.Event().wait()
            finally:
                closed.set()

        return Stream(give())

    api.handlers.answers["session_events"] = events
    await ask_and_leave(api, f"/v1/sessions/{KEY}/events?follow=1", read=100)
    await asyncio.wait_for(closed.wait(), 1)


async def test_pipeline_releases_a_stream_that_never_began(api: Api) -> None:
    gone, released = asyncio.Event(), asyncio.Event()

    async def artefact(call: Call) -> Stream:
        while call.request.transport is not None:
            await asyncio.sleep(0.005)
        gone.set()
        return Stream((await stream(b"x")).chunks, length=1, release=released.set)

    api.handlers.answers["artefact_get"] = artefact
    await ask_and_leave(api, f"/v1/sessions/{KEY}/artefact?path=x")
    await asyncio.wait_for(released.wait(), 2)
    assert gone.is_set()
