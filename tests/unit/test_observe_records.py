"""Do the kernel's audit records say exactly which program was executed, however hostile its arguments are?"""

from __future__ import annotations

import hashlib

from hypothesis import given, settings
from hypothesis import strategies as st

from eleagent.wire.observations import Arguments, ProgramExecuted
from eleagent_daemon.launcher.observe.records import (
    ARGV_BYTES,
    ARGV_COUNT,
    CWD,
    EXECVE,
    SYSCALL,
    UNFINISHED_LIMIT,
    Assembler,
)

PREFIX = "eleagent-"
KEY = f"{PREFIX}here-7-8"
RECORD = 7500


def value(raw: bytes) -> bytes:
    """As the kernel writes an untrusted string (audit_log_n_untrustedstring)."""
    plain = all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in raw)
    return b'"%b"' % raw if plain else raw.hex().upper().encode()


def syscall(serial: int = 5, *, uid: int = 10001, pid: int = 40, key: str = KEY, exe: bytes = b"/bin/x") -> bytes:
    head = f"audit(1795810747.749:{serial}): arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 items=2 ppid=39 "
    ids = f"pid={pid} auid=4294967295 uid={uid} gid=1 euid={uid} suid=9 tty=(none) ses=4294967295 comm="
    return head.encode() + ids.encode() + value(exe) + b" exe=" + value(exe) + f' key="{key}"'.encode()


def execve(argv: list[bytes], serial: int = 5) -> list[bytes]:
    """The records of one argument list, cut where the kernel would cut them."""
    stamp = f"audit(1795810747.749:{serial}): ".encode()
    records, line = [], stamp + f"argc={len(argv)}".encode()
    for number, raw in enumerate(argv):
        pieces = [raw[at : at + RECORD // 2] for at in range(0, len(raw), RECORD // 2)] or [b""]
        encode = value(raw)[:1] != b'"'
        if len(pieces) > 1:
            line += f" a{number}_len={len(raw) * (2 if encode else 1)}".encode()
        for index, piece in enumerate(pieces):
            name = f" a{number}[{index}]=" if len(pieces) > 1 else f" a{number}="
            text = name.encode() + (piece.hex().upper().encode() if encode else b'"%b"' % piece)
            if len(line) + len(text) > RECORD:
                records.append(line)
                line = stamp
            line += text
    return [*records, line]


def told(assembler: Assembler, *records: tuple[int, bytes]) -> list[tuple[int, ProgramExecuted]]:
    return [one for kind, body in records for one in assembler.take(kind, body)]


def execution(argv: list[bytes], cwd: bytes = b"/workspace", exe: bytes = b"/bin/x") -> ProgramExecuted:
    records = [(EXECVE, body) for body in execve(argv)]
    end = (CWD, b"audit(1795810747.749:5): cwd=" + value(cwd))
    ((uid, found),) = told(Assembler(PREFIX), (SYSCALL, syscall(exe=exe)), *records, end)
    assert uid == 10001
    return found


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


hostile = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b'x" a1="y', b" key=(null)", b"a1=2F", b"\x1b[2J", b"argc=9", "ünï".encode(), b"", b"uid=0"]),
    st.builds(lambda piece, times: piece * times, st.binary(min_size=1, max_size=4), st.integers(1800, 4000)),
)


@given(argv=st.lists(hostile, min_size=1, max_size=8), cwd=hostile, exe=hostile)
@settings(deadline=None)
def test_records_give_back_every_argument_as_it_was(argv, cwd, exe):
    # What ends in the middle of a character may be split there: each argument is decoded whole.
    found = execution(argv, cwd, exe)
    assert (found.cwd, found.exe, found.arguments) == (text(cwd), text(exe), Arguments.KERNEL)
    if sum(map(len, argv)) <= ARGV_BYTES:
        assert found.argv == [text(one) for one in argv]
        assert (found.argv_bytes, found.argv_sha256) == (0, "")


@given(st.integers(), st.binary(max_size=300))
@settings(deadline=None)
def test_records_of_any_bytes_break_nothing(kind, body):
    assembler = Assembler(PREFIX)
    told(assembler, (SYSCALL, syscall()), (kind, body), (EXECVE, b"audit(1.1:5): " + body), (CWD, body))
    assert len(list(assembler.rest())) <= 1


def test_records_of_a_huge_argument_are_cut_with_length_and_digest():
    argv = [b"prog", b"\x01" * (128 << 10), *[b"x" * 1000] * 300]
    found = execution(argv)
    whole = b"".join(one + b"\0" for one in argv)
    assert found.argv_bytes == len(whole)
    assert found.argv_sha256 == hashlib.sha256(whole).hexdigest()
    assert sum(map(len, found.argv)) <= ARGV_BYTES
    assert found.argv[0] == "prog"


def test_records_of_very_many_arguments_are_cut_with_length_and_digest():
    argv = [b""] * (ARGV_COUNT + 10)
    found = execution(argv)
    assert (len(found.argv), found.argv_bytes) == (ARGV_COUNT, len(argv))
    assert found.argv_sha256 == hashlib.sha256(b"\0" * len(argv)).hexdigest()


def test_records_with_a_lost_part_have_unknown_arguments():
    assembler = Assembler(PREFIX)
    first, *_ = execve([b"a", b"b" * 7000, b"c" * 7000])
    found = told(assembler, (SYSCALL, syscall()), (EXECVE, first), (CWD, b'audit(1795810747.749:5): cwd="/"'))
    assert found[0][1].arguments is Arguments.UNKNOWN
    bare = told(assembler, (SYSCALL, syscall(6)), (CWD, b'audit(1795810747.749:6): cwd="/"'))
    assert (bare[0][1].arguments, bare[0][1].argv, bare[0][1].exe) == (Arguments.UNKNOWN, [], "/bin/x")


def test_records_of_events_that_are_not_ours_are_left_out():
    assembler = Assembler(PREFIX)
    others = [syscall(key="other"), syscall().replace(b'key="' + KEY.encode() + b'"', b"key=(null)"), b"no record"]
    assert told(assembler, *[(SYSCALL, body) for body in others], *[(EXECVE, one) for one in execve([b"x"])]) == []
    assert list(assembler.rest()) == []


def test_records_without_an_end_do_not_pile_up():
    assembler = Assembler(PREFIX)
    found = told(assembler, *[(SYSCALL, syscall(serial, pid=serial)) for serial in range(UNFINISHED_LIMIT + 3)])
    assert [one.pid for _, one in found] == [0, 1, 2]
    assert len(list(assembler.rest())) == UNFINISHED_LIMIT


def test_records_that_interleave_are_kept_apart():
    assembler = Assembler(PREFIX)
    one, two = execve([b"one"], 1), execve([b"two"], 2)
    found = told(
        assembler, (SYSCALL, syscall(1, uid=10001)), (SYSCALL, syscall(2, uid=10002)),
        (EXECVE, two[0]), (EXECVE, one[0]), (CWD, b'audit(1.2:1): cwd="/"'), (CWD, b'audit(1.2:2): cwd="/"'),
    )  # fmt: skip
    assert [(uid, execution.argv) for uid, execution in found] == [(10001, ["one"]), (10002, ["two"])]
