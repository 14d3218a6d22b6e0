"""What does the TUI see of a daemon? Sessions with timelines that grow, scripted over a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from eleagent.errors import Conflict, NotFound
from eleagent.wire import events as ev
from eleagent.wire.agents import Agent, AgentList
from eleagent.wire.approvals import Approval, ApprovalAnswer, ApprovalKind, ApprovalList, ApprovalState
from eleagent.wire.attestation import Binding, Control, ControlClass, Report
from eleagent.wire.audit import AuditEntry, AuditList, AuditRecord
from eleagent.wire.driving import SessionHandover
from eleagent.wire.egress import Door, EgressDecision, EgressHost, EgressList, EgressTop
from eleagent.wire.keys import ApiKey, ApiKeyList
from eleagent.wire.limits import OnLimit, SessionLimits, UsageBy, UsageReport, UsageRow
from eleagent.wire.policies import Policy, PolicyApprovals, PolicyList, PolicyTerms
from eleagent.wire.sessions import (
    Accepted,
    Artefact,
    ArtefactList,
    Found,
    InputAccepted,
    Session,
    SessionCreate,
    SessionDetail,
    SessionInput,
    SessionList,
    State,
    Usage,
)
from eleagent.wire.system import Doctor, Finding, Status
from eleagent.wire.timeline import Event, Notice
from eleagent.wire.users import User, UserList
from eleagent.wire.wanted import Wanted

from ..cli.fakedaemon import Break, Call, FakeDaemon, Script


def stamp(seconds_ago: float) -> str:
    at = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=seconds_ago)
    return at.isoformat().replace("+00:00", "Z")


def event(seq: int, payload: ev.Payload, *, second: float | None = None) -> Event:
    at = datetime(2026, 3, 9, 8, 0, tzinfo=UTC) + timedelta(seconds=seq if second is None else second)
    ts = at.isoformat().replace("+00:00", "Z")
    return Event(seq, ts, payload.type, payload.by, msgspec.to_builtins(payload))


def events(*payloads: ev.Payload) -> list[Event]:
    return [event(seq, payload) for seq, payload in enumerate(payloads, 1)]


def session(number: int, state: State = State.RUNNING, **changes: Any) -> Session:
    """A session with a key of its own, `number` minutes old."""
    digits = "".join("abcdefghij"[int(digit)] for digit in f"{number:010d}")
    facts: dict[str, Any] = {
        "name": f"able-otter-{number}", "agent": "claude", "owner": "weber", "title": f"Sort the reports {number}",
        "usage": Usage(requests=2, input_tokens=1200 * number, output_tokens=34), "created": stamp(number * 60 + 10),
    }  # fmt: skip
    return Session(key=f"s-{digits}", state=state, **(facts | changes))


class Scene:
    """The daemon's side: what is in it may change while the TUI looks."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.sessions: dict[str, Session] = {}
        self.timelines: dict[str, list[Event]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.previews: dict[str, list[Notice]] = {}
        self.report: Report | None = None
        self.decisions: list[EgressDecision] = []
        self.hosts: list[EgressHost] = []
        self.records: list[AuditRecord] = []
        self.approvals: dict[str, Approval] = {}
        self.changed = threading.Condition()
        daemon.scripts |= {name: self._while_there(script) for name, script in self.scripts().items()}

    def add(self, one: Session, *payloads: ev.Payload) -> Session:
        with self.changed:
            self.sessions[one.key] = one
            self.timelines.setdefault(one.key, []).extend(events(*payloads))
            self.changed.notify_all()
        return one

    def say(self, key: str, *payloads: ev.Payload) -> None:
        with self.changed:
            known = self.timelines[key]
            known.extend(event(seq, payload) for seq, payload in enumerate(payloads, len(known) + 1))
            self.changed.notify_all()

    def preview(self, key: str, text: str) -> None:
        with self.changed:
            self.previews.setdefault(key, []).append(Notice("preview", text=text))
            self.changed.notify_all()

    def scripts(self) -> dict[str, Script]:
        return {
            "status": lambda call: STATUS,
            "session_list": self._list,
            "session_get": lambda call: SessionDetail(session=self._known(call), report=self.report),
            "session_events": self._events,
            "session_find": self._find,
            "session_input": self._input,
            "session_interrupt": lambda call: Accepted(call.path["key"], State.RUNNING),
            "session_stop": self._stop,
            "artefact_list": self._artefacts,
            "session_create": self._create,
            "session_resume": lambda call: self.add(session(43, State.STARTING, name="went-on"), *STORY[:4]),
            "policy_list": lambda call: POLICIES,
            "agent_list": lambda call: AgentList(AGENTS),
            "doctor": lambda call: Doctor(
                [Finding("engine", "ok", "Docker 29"), Finding("quota", "warn", "none", "mount with prjquota")]
            ),
            "approval_list": lambda call: ApprovalList(
                [msgspec.structs.replace(one, parameters="") for one in self.approvals.values()]
            ),
            "approval_get": lambda call: self._asked(call),
            "approval_answer": self._answer,
            "egress_list": self._egress,
            "egress_top": lambda call: EgressTop(self.hosts),
            "user_list": lambda call: UserList(USERS),
            "api_key_list": lambda call: ApiKeyList(KEYS),
            "usage": lambda call: usage(call.query["by"]),
            "session_handover": self._hand_over,
            "audit_list": self._audit,
            "audit_get": self._record,
            "artefact_get": lambda call: [self.files[call.path["key"]][call.query["path"]]],
        }

    def _while_there(self, script: Script) -> Script:
        """A daemon that stopped answers on no connection, also on one that is open."""

        def answer(call: Call) -> Any:
            if self.daemon.server is None:
                raise Break
            return script(call)

        return answer

    def _known(self, call: Call) -> Session:
        if call.path["key"] not in self.sessions:
            raise NotFound(f"no session {call.path['key']}")
        return self.sessions[call.path["key"]]

    def _list(self, call: Call) -> SessionList:
        everything = call.query.get("all") == "true"
        chosen = [one for one in self.sessions.values() if everything or not one.state.ended]
        return SessionList(sorted(chosen, key=lambda one: one.created, reverse=True))

    def _events(self, call: Call) -> Iterator[Event | Notice]:
        key, query = call.path["key"], call.query
        known = self.timelines[key]
        after = int(query.get("after", 0))
        if "tail" in query:
            after = max(after, len(known) - int(query["tail"]))
        types = frozenset(filter(None, query.get("types", "").split(",")))
        if wanted := Wanted(text=query.get("text", ""), types=types, trouble=query.get("trouble") == "true"):
            assert "follow" not in query, "the daemon refuses that"
            yield from (one for one in known[after:] if wanted.fits(one))
            return
        if query.get("follow") != "true":
            yield from known[after : after + int(query.get("limit", len(known)))]
            return
        shown = 0
        while True:
            yield from known[after:]
            after = max(after, len(known))
            notices = self.previews.get(key, [])
            yield from notices[shown:]
            shown = len(notices)
            if known and known[-1].type == ev.SessionEnded.type:
                return
            with self.changed:
                if after == len(known) and shown == len(self.previews.get(key, [])):
                    self.changed.wait(0.5)
            if self.daemon.server is None:
                return

    def _find(self, call: Call) -> Found:
        query = call.query
        known = self.timelines[call.path["key"]]
        text, types = query.get("text", ""), query.get("types", "")
        hits = [
            one.seq
            for one in known
            if (not types or one.type in types.split(","))
            and (query.get("trouble") != "true" or one.data.get("is_error") or one.data.get("allowed") is False)
            and (not text or text in msgspec.json.encode(one.data).decode())
        ]
        if "after" in query:
            return Found([seq for seq in hits if seq > int(query["after"])][: int(query["limit"])])
        return Found([seq for seq in reversed(hits) if seq < int(query["before"])][: int(query["limit"])])

    def _create(self, call: Call) -> Session:
        body = call.decoded(SessionCreate)
        return self.add(session(42, State.STARTING, name=body.name or "new-otter", agent=body.agent), *STORY[:4])

    def _input(self, call: Call) -> InputAccepted:
        key = call.path["key"]
        self.say(key, ev.InputAccepted(id="i-1", by_user="weber", text=call.decoded(SessionInput).text))
        return InputAccepted(id="i-1", seq=len(self.timelines[key]))

    def _hand_over(self, call: Call) -> Session:
        one = self._known(call)
        to = call.decoded(SessionHandover).to
        self.sessions[one.key] = msgspec.structs.replace(one, driver=to, lease=one.lease + 1)
        return self.sessions[one.key]

    def _stop(self, call: Call) -> Accepted:
        key = call.path["key"]
        self.say(key, ev.SessionStopping("stopped", "weber"), ev.SessionEnded(State.STOPPED, "stopped", 130))
        self.sessions[key] = msgspec.structs.replace(self.sessions[key], state=State.STOPPED, reason="stopped")
        return Accepted(key, State.STOPPING)

    def _artefacts(self, call: Call) -> ArtefactList:
        import hashlib

        files = self.files.get(call.path["key"], {})
        made = [Artefact(path, len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()]
        return ArtefactList(made, self.sessions[call.path["key"]].state.ended)

    def _asked(self, call: Call) -> Approval:
        if call.path["id"] not in self.approvals:
            raise Conflict(f"approval {call.path['id']} is not open any more")
        return self.approvals[call.path["id"]]

    def _answer(self, call: Call) -> Approval:
        asked = self._asked(call)
        del self.approvals[asked.id]
        allow = call.decoded(ApprovalAnswer).allow
        return msgspec.structs.replace(asked, state=ApprovalState.ALLOWED if allow else ApprovalState.DENIED)

    def _egress(self, call: Call) -> EgressList:
        query = call.query
        after, before = int(query.get("after", 0)), int(query.get("before", 1 << 40))
        fitting = [
            one
            for one in self.decisions
            if after < one.id < before
            and (query.get("refused") != "true" or not one.allowed)
            and query.get("text", "") in one.host
            and query.get("session", one.session) == one.session
        ]
        limit = int(query.get("limit", 1000))
        if query.get("newest") == "true":
            return EgressList(fitting[-limit:], fitting[-limit].id if len(fitting) > limit else None)
        return EgressList(fitting[:limit])

    def _audit(self, call: Call) -> AuditList:
        query = call.query
        before = int(query.get("before", 1 << 40))
        fitting = [
            one
            for one in self.records
            if one.seq < before
            and query.get("since", "") <= one.ts
            and query.get("actor", one.actor) == one.actor
            and query.get("text", "") in one.action
            and query.get("session", one.session) == one.session
        ]
        limit = int(query.get("limit", 1000))
        return AuditList(fitting[-limit:], fitting[-limit].seq if len(fitting) > limit else None)

    def _record(self, call: Call) -> AuditEntry:
        (record,) = (one for one in self.records if str(one.seq) == call.path["seq"])
        return AuditEntry(record=record, line=msgspec.json.encode(record).decode(), origin="log.example/1", proof="")


def usage(by: str) -> UsageReport:
    rows = [UsageRow(f"{by}-{n}", n, 10 * n, 1000 * n, 100 * n, 0, 0, 1.5 * n, 0, 0) for n in (2, 1)]
    total = UsageRow("", 3, 30, 3000, 300, 0, 0, 4.5, 0, 0)
    return UsageReport(UsageBy(by), "2026-03-01", "2026-03-09", "list prices of 2026-03", rows, total)


def question(number: int, **changes: Any) -> Approval:
    facts: dict[str, Any] = {
        "session": session(1).key, "owner": "weber", "agent": "claude", "policy": "model-only",
        "kind": ApprovalKind.TOOL, "subject": "Bash", "asked": f"2026-03-09T08:00:{number:02d}Z",
        "parameters": f'{{"command":"make part-{number}"}}',
    }  # fmt: skip
    return Approval(id=f"a-{number}", **(facts | changes))


def decision(number: int, *, allowed: bool = True, **changes: Any) -> EgressDecision:
    facts: dict[str, Any] = {
        "session": session(1).key, "seq": number, "ts": "2026-03-09T08:00:00Z", "door": Door.TUNNEL,
        "host": f"h{number}.example:443", "rule": "allow-hosts" if allowed else "none",
        "reason": "" if allowed else "EleAgent: it is not allowed",
    }  # fmt: skip
    return EgressDecision(id=number, allowed=allowed, **(facts | changes))


def record(number: int, **changes: Any) -> AuditRecord:
    facts: dict[str, Any] = {
        "ts": "2026-03-09T08:00:00Z", "phase": "intent", "action": "session.create", "actor": "weber",
        "decision": "allowed", "object": session(1).key, "session": session(1).key,
    }  # fmt: skip
    return AuditRecord(seq=number, **(facts | changes))


AGENTS = [
    Agent(name="claude", adapter="claude", image="eleagent/claude", version="2.1"),
    Agent(name="command", adapter="command", image="eleagent/command", needs="build it: eleagent image build command"),
]

USERS = [
    User(
        id="u-1", name="ada", role="admin", state="active", source="given", created=stamp(9), full_name="Ada L.",
        unix_user="ada",
    ),
    User(id="u-2", name="old", role="member", state="disabled", source="given", created=stamp(9)),
]  # fmt: skip
KEYS = [ApiKey(id="k-1", user="ada", note="nightly", group="ci_cd", created=stamp(9), expires="2027-01-01T00:00:00Z")]

REPORT = Report(
    runtime="docker",
    controls=[
        Control("no_new_privs", ControlClass.CONFINEMENT, "1", "1", "/proc/77/status", True),
        Control("seccomp", ControlClass.CONFINEMENT, "mode 2", "mode 2", "/proc/77/status", True),
        Control("pids limit", ControlClass.RESOURCES, "512", "none", "cgroup", False),
    ],
    binding=Binding("0123456789abcdef", "2026-03-09T08:00:00Z", 77, 12345, 4026532000),
    complete=True,
    missing_resources=["pids limit"],
)

STATUS = Status(
    version="1", installation="test", pid=1, user="eleagent", caller="weber", role="owner",
    started="2026-03-09T07:00:00Z", home="/var/lib/eleagent", runtime="docker", engine="Docker 29", launcher="pid 2",
    model="ready", sessions_live=1, sessions_queued=0, slots=4, audit_records=3, audit_head="0" * 64,
    limits=SessionLimits(max_cost_usd=20.0),
)  # fmt: skip

POLICIES = PolicyList(
    [
        Policy(
            name="model-only", built_in=True, tunnel=[], model=True, server_tools=[],
            approvals=PolicyApprovals(hosts=False, credentials=False, expires_s=900, hold_s=120),
        ),
        Policy(
            name="careful", built_in=False, tunnel=[".example.org:443", "git.example.net:22"], model=True,
            server_tools=["web_search"],
            approvals=PolicyApprovals(hosts=True, credentials=True, expires_s=600, hold_s=60),
        ),
        Policy(
            name="offline", built_in=False, tunnel=[], model=False, server_tools=[],
            approvals=PolicyApprovals(hosts=True, credentials=False, expires_s=0, hold_s=90),
        ),
    ],
    default="model-only",
    terms=PolicyTerms(
        mode="strict", timeout_s=7200, user_day_usd=50, key_day_usd=0, project_day_usd=0, keep_days=90,
        audit_keep_days=400,
        limits=SessionLimits(
            idle_timeout_s=1800, max_cost_usd=20.0, memory_bytes=2 << 30, cpus=2.0, pids=512, disk_bytes=4 << 30,
            stop_grace_s=3.0, on_limit=OnLimit.STOP,
        ),
    ),
)  # fmt: skip

STORY: tuple[ev.Payload, ...] = (
    ev.SessionCreated(agent="claude", owner="weber", policy="model-only", runtime="docker", prompt="Sort the reports"),
    ev.SessionStarting(attempt=1, image="sha256:1", uid=10001),
    ev.SessionStarted(),
    ev.InputAccepted(id="i-0", by_user="weber", text="Sort the reports by date and say which are missing."),
    ev.AgentReady(version="2.1", model="model-1", tools=["Bash", "Edit"], mcp_servers=[], native_session="n"),
    ev.AgentThinking("The reports have dates in their names."),
    ev.AgentToolCall(id="t1", name="Bash", input='{"command":"ls -1 /data/reports","description":"List"}'),
    ev.AgentToolResult(id="t1", text="\n".join(f"TR-{number}.md" for number in range(101, 131))),
    ev.AgentToolCall(
        id="t2", name="Edit",
        input='{"file_path":"/artefacts/a.md","old_string":"# Index\\nTR-1","new_string":"# Index\\nTR-1\\nTR-2"}',
    ),
    ev.AgentToolResult(id="t2", text="ok"),
    ev.AgentToolCall(id="t3", name="Bash", input='{"command":"grep -c 2026 /data/none"}'),
    ev.AgentToolResult(id="t3", text="grep: /data/none: No such file or directory", is_error=True),
    ev.EgressTunnel(False, "none", "example.org", 443, reason="EleAgent: example.org:443 is not allowed"),
    ev.AgentMessage(
        "# Result\n\nThe reports are **sorted**; `TR-109` is missing.\n\n- first: `TR-101`\n- last: TR-130\n\n"
        "| report | date |\n|---|---|\n| TR-101 | 2026-03-09 |\n| TR-102 | 2026-03-15 |\n\n```sh\nls /artefacts\n```\n"
    ),
    ev.AgentTurnFinished(text="", is_error=False, subtype="success", turns=3, confirmed=True),
)  # fmt: skip


def wait_until(true: Any, what: str, timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
