"""Does a client find out that the audit log it is shown is not the one it was shown before?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from eleagent.client.witness import Seen
from eleagent.transparency.note import Signer
from eleagent.wire.audit import AuditRecord
from eleagent.wire.sessions import SessionList
from eleagent.wire.system import Doctor

from .conftest import CommandLine
from .fakedaemon import NOW, FakeSession, created, ended
from .fakelog import SIGNER, FakeLog
from .test_commands import STATUS


@pytest.fixture
def log(eleagent: CommandLine) -> FakeLog:
    made = FakeLog()
    eleagent.daemon.audit = lambda: made.header()
    eleagent.daemon.scripts |= {
        "audit_head": made.answer,
        "session_list": lambda call: SessionList([]),
        "doctor": lambda call: Doctor([]),
    }
    return made


def remembered(eleagent: CommandLine) -> Seen:
    (path,) = (eleagent.folder / "state" / "eleagent-witness").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    return msgspec.json.decode(path.read_bytes(), type=Seen)


def test_witness_remembers_the_first_and_asks_for_proof_when_it_grew(eleagent: CommandLine, log: FakeLog) -> None:
    assert "audit:" not in eleagent("ps").err
    assert (remembered(eleagent).size, log.proofs) == (300, 0)
    assert "audit:" not in eleagent("ps").err
    assert log.proofs == 0, "nothing is asked while nothing changed"
    log.entries.append(b"one more")
    assert "audit:" not in eleagent("ps").err
    assert (remembered(eleagent).size, log.proofs) == (301, 1)
    assert eleagent("doctor").code == 0
    assert remembered(eleagent).keys == [str(SIGNER.verifier(log.origin))]


def test_witness_asks_once_and_while_the_session_starts(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent("ps")
    log.entries.append(b"one more")
    eleagent.daemon.scripts |= FakeSession(created(), ended()).scripts()
    assert eleagent("run", "-q", "--", "true").code == 0
    assert [call.operation for call in eleagent.daemon.calls][1:] == ["session_create", "audit_head", "session_events"]
    assert (remembered(eleagent).size, log.proofs) == (301, 1)


def test_witness_takes_an_older_answer_for_no_change(eleagent: CommandLine, log: FakeLog) -> None:
    """It was on its way while another client saw a newer one."""
    older = log.header()
    log.entries.append(b"one more")
    eleagent("ps")
    eleagent.daemon.audit = lambda: older
    assert "audit:" not in eleagent("ps").err
    assert remembered(eleagent).size == 301


def cut(log: FakeLog) -> None:
    del log.entries[200:]


def rewrite(log: FakeLog) -> None:
    log.entries[7] = b"another"


def rewrite_and_grow(log: FakeLog) -> None:
    log.entries[7] = b"another"
    log.entries.append(b"one more")


@pytest.mark.parametrize("change", [cut, rewrite, rewrite_and_grow])
def test_witness_finds_a_log_that_was_changed(
    eleagent: CommandLine, log: FakeLog, change: Callable[[FakeLog], None]
) -> None:
    eleagent("doctor")
    change(log)
    done = eleagent("ps")
    assert done.code == 0, "what a person asked for is done all the same"
    assert "audit:" in done.err
    assert "was changed" in done.err
    assert eleagent("doctor").code == 125
    assert remembered(eleagent).size == 300, "what was seen is kept as evidence"


def test_witness_finds_a_split_view(eleagent: CommandLine, log: FakeLog) -> None:
    """Two clients are shown two logs; when either is shown the other's, it says so."""
    other = {"XDG_STATE_HOME": str(eleagent.folder / "other")}
    mine, theirs = list(log.entries), [*log.entries[:299], b"another"]
    eleagent("ps")
    log.entries = theirs
    assert "audit:" not in eleagent("ps", **other).err
    log.entries = [*theirs, b"more"]
    assert "was changed" in eleagent("ps").err
    log.entries = [*mine, b"more"]
    assert "audit:" not in eleagent("ps").err
    assert "was changed" in eleagent("ps", **other).err


def test_witness_finds_a_log_signed_by_another_key(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent("doctor")
    log.signer = Signer(b"k" * 32)
    log.entries.append(b"one more")
    done = eleagent("doctor")
    assert (done.code, "was changed" in done.err) == (125, True)


def test_witness_follows_a_log_to_another_key(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent("doctor")
    log.rotate(Signer(b"k" * 32), by=SIGNER)
    log.entries.append(b"one more")
    assert eleagent("doctor").code == 0
    assert remembered(eleagent).keys == [str(key) for key in log.keys]
    log.signer, log.rotations, log.keys = SIGNER, [], []
    log.entries.append(b"by the key that was given up")
    assert eleagent("doctor").code == 125


def test_witness_finds_a_key_that_named_itself(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent("doctor")
    forger = Signer(b"k" * 32)
    log.rotate(forger, by=forger)
    log.entries.append(b"one more")
    done = eleagent("doctor")
    assert (done.code, "was changed" in done.err) == (125, True)


def test_witness_misses_a_log_that_is_not_shown_any_more(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent("ps")
    eleagent.daemon.audit = None
    assert "shows no audit log; it had 300 records" in eleagent("ps").err


def restarted(log: FakeLog, seen: str = "eleagent/x/1") -> None:
    log.origin, log.entries = "eleagent/x/2", [b"first"]
    details = {"origin": seen, "size": "300", "reason": "a backup was restored"}
    log.begins = AuditRecord(seq=301, ts=NOW, phase="event", action="audit.restarted", actor="root", details=details)


def test_witness_speaks_with_the_status_but_not_in_a_prompt(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent.daemon.scripts["status"] = lambda call: STATUS
    eleagent("doctor")
    restarted(log)
    done = eleagent("status")
    assert (done.code, "root began eleagent/x/2" in done.err) == (125, True)
    short = eleagent("status", "--short")
    assert (short.code, short.out, short.err) == (0, "1 running\n", "")


def test_witness_asks_once_about_a_new_log(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent("ps")
    restarted(log)
    done = eleagent("ps")
    assert "root began eleagent/x/2" in done.err
    assert "eleagent audit trust" in done.err
    terminal = eleagent.on_terminal("ps")
    terminal.read_until("Is that right?")
    terminal.type("y\n")
    assert terminal.wait() == 0
    assert "audit:" not in eleagent("ps").err
    assert remembered(eleagent).origin == "eleagent/x/2"


@pytest.mark.parametrize("answer", ["n\n", "\n", "no\n", "what?\n", "\x04"], ids=["n", "nothing", "no", "else", "eof"])
@pytest.mark.parametrize(("command", "code"), [("ps", 0), ("doctor", 125)])
def test_witness_remembers_nothing_of_a_new_log_that_a_person_says_no_to(
    eleagent: CommandLine, log: FakeLog, command: str, code: int, answer: str
) -> None:
    eleagent("ps")
    before = remembered(eleagent)
    restarted(log)
    for _ in range(2):
        terminal = eleagent.on_terminal(command)
        terminal.read_until("Remember the new log? [y/N] ")
        terminal.type(answer)
        assert terminal.wait() == code
        assert b"is not remembered; ask root what it is" in terminal.seen
        assert remembered(eleagent) == before, "so it is asked again"
    assert "root began eleagent/x/2" in eleagent("ps").err


def test_witness_remembers_nothing_when_the_question_is_broken_off(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent("ps")
    before = remembered(eleagent)
    restarted(log)
    terminal = eleagent.on_terminal("ps")
    terminal.read_until("[y/N] ")
    terminal.type("\x03")
    assert terminal.wait() == 130
    assert b"Traceback" not in terminal.seen
    assert remembered(eleagent) == before


def test_witness_trusts_a_new_log_when_told_to(eleagent: CommandLine, log: FakeLog) -> None:
    eleagent("ps")
    restarted(log, seen="eleagent/y/1")
    assert "does not name eleagent/x/1" in eleagent("ps").err
    assert str(SIGNER.verifier("eleagent/x/2")) in eleagent("audit", "trust").out
    assert eleagent("doctor").code == 0


def test_witness_says_nothing_where_it_cannot_remember(eleagent: CommandLine, log: FakeLog, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = eleagent("ps", XDG_STATE_HOME=str(tmp_path / "file"))
    assert (done.code, "audit" in done.err) == (0, False)
