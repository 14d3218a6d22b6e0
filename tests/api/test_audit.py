"""Does the API answer questions about the audit log, to each what he may see, and prove what it answers?"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from eleagent.errors import BadRequest, NotFound
from eleagent.operations.audit import AUDIT_GET, AUDIT_HEAD, AUDIT_LIST, AUDIT_PROVE, AUDIT_RESTART, AUDIT_ROTATE_KEY
from eleagent.operations.operation import Operation
from eleagent.permissions import Role
from eleagent.transparency.export import verify_export
from eleagent.transparency.merkle import check_consistency
from eleagent.transparency.note import VerifierKey, open_checkpoint
from eleagent.transparency.proof import InclusionProof
from eleagent.transparency.verify import verify
from eleagent.wire.audit import AuditRecord, LogRestart
from eleagent_daemon.api.audit import AuditHandlers
from eleagent_daemon.api.identity import Caller
from eleagent_daemon.api.pipeline import Call
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.store.ledger import Ledger
from eleagent_daemon.store.registry import CallerIdentity


class _Sessions:
    async def find(self, text: str, sight: Sight) -> Owned:
        if text == "@":
            return Owned(id="s-a", owner=sight.user)
        raise NotFound(f"no session {text}")


@dataclass
class Asked:
    ledger: Ledger
    handlers: AuditHandlers

    async def __call__(self, operation: Operation, role: Role = Role.OWNER, body: Any = None, **given: Any) -> Any:
        names = dict(operation.query)
        call = Call(
            operation=operation,
            caller=Caller(name="ada", role=role, identity=CallerIdentity(uid=1, gid=1, groups=[])),
            path={name: value for name, value in given.items() if name not in names},
            query={name: value for name, value in given.items() if name in names},
            body=body,
            token=None,
            request=cast(Any, None),
        )
        return await self.handlers.table()[operation](call)


@asynccontextmanager
async def asking(folder: Path) -> AsyncIterator[Asked]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        ledger = await Ledger.open(folder / "ledger", secrets=folder / "secrets", installation="x", pool=pool)
        for number in range(2, 12):
            actor = "ada" if number % 2 else "bob"
            behalf = "ada" if number == 4 else ""
            await ledger.write(phase="event", action="session.stop", actor=actor, behalf=behalf, session="s-a")
        await ledger.checkpoint()
        yield Asked(ledger, AuditHandlers(sessions=cast(Any, _Sessions()), ledger=ledger, pool=pool))
        await ledger.close()


async def test_audit_list_shows_members_their_own_and_administrators_all(tmp_path: Path) -> None:
    async with asking(tmp_path) as ask:
        assert [one.seq for one in (await ask(AUDIT_LIST)).records] == list(range(1, 12))
        for role in (Role.MEMBER, Role.AGENT):
            assert [one.seq for one in (await ask(AUDIT_LIST, role)).records] == [3, 4, 5, 7, 9, 11]
            assert [one.seq for one in (await ask(AUDIT_LIST, role, actor="bob")).records] == [4]
        assert (await ask(AUDIT_GET, Role.MEMBER, seq="4")).record.behalf == "ada"
        for seq in ("2", "1", "99"):
            with pytest.raises(NotFound, match=f"there is no audit record {seq}"):
                await ask(AUDIT_GET, Role.MEMBER, seq=seq)
        with pytest.raises(BadRequest):
            await ask(AUDIT_GET, seq="1/../2")


async def test_audit_list_pages_and_resolves_a_session(tmp_path: Path) -> None:
    async with asking(tmp_path) as ask:
        first = await ask(AUDIT_LIST, limit=4, session="@")
        assert ([one.seq for one in first.records], first.next) == ([2, 3, 4, 5], 5)
        newest = await ask(AUDIT_LIST, limit=4, newest=True)
        assert ([one.seq for one in newest.records], newest.next) == ([8, 9, 10, 11], 8)
        older = await ask(AUDIT_LIST, limit=100, newest=True, before=newest.next)
        assert ([one.seq for one in older.records], older.next) == ([1, 2, 3, 4, 5, 6, 7], None)
        assert (await ask(AUDIT_LIST, session="s-gone")).records == []


async def test_audit_head_proves_growth_and_each_record(tmp_path: Path) -> None:
    async with asking(tmp_path) as ask:
        before = await ask(AUDIT_HEAD)
        await ask.ledger.write(phase="event", action="session.stop", actor="x")
        await ask.ledger.checkpoint()
        head = await ask(AUDIT_HEAD, from_size=11)
        keys = [VerifierKey.parse(key) for key in head.keys]
        old, new = open_checkpoint(before.note, keys), open_checkpoint(head.note, keys)
        check_consistency(old.size, old.root, new.size, new.root, [base64.b64decode(one) for one in head.consistency])
        assert (old.size, new.size, head.begins.action) == (11, 12, "audit.begun")
        entry = await ask(AUDIT_GET, seq="12")
        assert InclusionProof.parse(entry.proof).check(entry.line.encode(), keys) == new
        with pytest.raises(NotFound, match="there is no size 13"):
            await ask(AUDIT_HEAD, from_size=13)


async def test_audit_restart_begins_a_log_that_names_the_old_one_and_who_did_it(tmp_path: Path) -> None:
    async with asking(tmp_path) as ask:
        with pytest.raises(BadRequest, match="say why"):
            await ask(AUDIT_RESTART, body=LogRestart(" "))
        head = await ask(AUDIT_RESTART, body=LogRestart("a backup was restored"))
        assert (head.first_seq, head.begins.actor, head.begins.details["size"]) == (12, "ada", "11")
        assert [one.seq for one in (await ask(AUDIT_LIST, after=10)).records] == [11, 12]
        assert (await ask(AUDIT_GET, seq="3")).origin == "eleagent/x/1"
        verdicts = await asyncio.to_thread(verify, ask.ledger.folder)
        assert [verdict.problem for verdict in verdicts] == ["", ""]


async def test_audit_key_is_rotated_by_a_record_that_names_who_did_it(tmp_path: Path) -> None:
    async with asking(tmp_path) as ask:
        (first,) = (await ask(AUDIT_HEAD)).keys
        head = await ask(AUDIT_ROTATE_KEY)
        assert head.keys[0] == first
        record = msgspec.json.decode(head.rotations[0].line, type=AuditRecord)
        assert (record.action, record.actor) == ("audit.key_rotated", "ada")
        assert record.details["key"] == head.keys[1]
        await ask.ledger.write(phase="event", action="session.stop", actor="x")
        await ask.ledger.checkpoint()
        later = await ask(AUDIT_HEAD)
        assert open_checkpoint(later.note, [VerifierKey.parse(head.keys[1])]).size == 13
        (verdict,) = await asyncio.to_thread(verify, ask.ledger.folder, keys=[VerifierKey.parse(first)])
        assert verdict.problem == ""


async def test_audit_proofs_are_given_to_each_for_what_he_may_see(tmp_path: Path) -> None:
    async with asking(tmp_path) as ask:
        await ask.ledger.write(phase="event", action="session.stop", actor="ada")
        first = await ask(AUDIT_PROVE, limit=7)
        rest = await ask(AUDIT_PROVE, after=first.next)
        assert (first.next, rest.next, len(first.records), len(rest.records)) == (7, None, 7, 5)
        lines = [msgspec.json.encode(one) for one in (*first.logs, *first.records, *rest.logs, *rest.records)]
        verdict = verify_export(lines, keys=[VerifierKey.parse(key) for key in first.logs[0].keys])
        assert (verdict.problem, verdict.records, verdict.left_out) == ("", 12, 0)
        own = await ask(AUDIT_PROVE, Role.MEMBER)
        assert [msgspec.json.decode(one.line)["seq"] for one in own.records] == [3, 4, 5, 7, 9, 11, 12]
