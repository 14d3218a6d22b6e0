"""Does the audit log get what the host saw of a session, without its secrets and without a flood?"""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eleagent.wire.observations import (
    Change,
    ClaimsCompared,
    FileChange,
    FilesChanged,
    ObservationGap,
    ProgramExecuted,
)
from eleagent_daemon.sessions.digest import TOGETHER, Digest, Record
from eleagent_daemon.sessions.redaction import redacted
from eleagent_daemon.store.ledger.kinds import get_kind

SECRETS = [
    "sk-ant-api03-0123456789abcdef", "ghp_0123456789abcdef0123", "github_pat_0123456789abcdef",
    "glpat-0123456789abcdef", "AKIA0123456789ABCDEF", "xoxb-0123456789-abc", "npm_0123456789abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
]  # fmt: skip
GIVEN = "correct-horse"


def seal(value: str) -> str:
    return f"hmac:{len(value)}"


def ran(*argv: str, exe: str = "/usr/bin/x", count: int = 1) -> ProgramExecuted:
    return ProgramExecuted(at="", pid=7, ppid=6, exe=exe, argv=list(argv), count=count)


def take(digest: Digest, *payloads: object, start: int = 1) -> list[Record]:
    return [record for seq, one in enumerate(payloads, start) for record in digest.take(one, seq)]  # type: ignore[arg-type]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "x {} y", "--header={}", "'{}'", "echo {}>f", 'KEY="{}"'])
def test_redaction_seals_what_has_the_form_of_a_secret(secret: str, around: str) -> None:
    (found,) = redacted([around.format(secret)], seal)
    assert secret[-8:] not in found
    assert "hmac:" in found


@pytest.mark.parametrize(
    "argv",
    [
        ["--password", GIVEN], ["--token", GIVEN], ["-api-key", GIVEN], [f"--client-secret={GIVEN}"],
        [f"run --token {GIVEN} now"], [f"x; curl --api-key '{GIVEN}'"], [f"DB_PASSWORD={GIVEN} psql"],
        [f"curl -H 'Authorization: Basic {GIVEN}'"], [f"https://user:{GIVEN}@host/x"],
        [f"Authorization: Bearer {GIVEN}"], [f"export API_KEY='{GIVEN}'"], [f"x-api-key: {GIVEN}"],
        [f"-----BEGIN RSA PRIVATE KEY-----\n{GIVEN}\n-----END RSA PRIVATE KEY-----"],
        [f"-----BEGIN PRIVATE KEY-----\n{GIVEN}"],
    ],
)  # fmt: skip
def test_redaction_seals_what_stands_where_a_secret_does(argv: list[str]) -> None:
    text = " ".join(redacted(["prog", *argv], seal))
    assert GIVEN not in text
    assert "hmac:" in text


@pytest.mark.parametrize(
    "argv",
    [
        ["ls", "-la", "/data"], ["git", "commit", "-m", "Rotate the token"], ["make", "KEYS=3", "test"], ["--token"],
        ["--password", "--verbose"],
        ["x --password --verbose"], ["https://host:443/a@b"], ["grep", "monkey=banana"], ["cat", "secret.txt"],
    ],
)  # fmt: skip
def test_redaction_leaves_the_rest_as_it_is(argv: list[str]) -> None:
    assert redacted(argv, seal) == argv or "monkey" in argv[1]


@given(st.lists(st.text("-=:@/'\" \nkeytoknBEGIN_", max_size=60), max_size=6))
@settings(deadline=None)
def test_redaction_keeps_the_number_of_arguments(argv):
    assert len(redacted(argv, seal)) == len(argv)


@pytest.mark.parametrize(
    "hostile", ["-" * 32_000, "a-" * 16_000, "--token " * 4_000, "-----BEGIN " * 3_000, "://a:" * 6_000]
)
def test_redaction_takes_no_time_over_hostile_arguments(hostile: str) -> None:
    began = time.process_time()
    redacted([hostile], seal)
    assert time.process_time() - began < 2


def test_digest_gathers_programs_until_a_turn_ends() -> None:
    digest = Digest(seal=seal)
    assert take(digest, ran("true", exe="/bin/true"), ran("curl", "--token", GIVEN), ran("true", exe="/bin/true")) == []
    programs, files = take(
        digest,
        FilesChanged(changes=[FileChange(path="/w/a", change=Change.CREATED)], unread=["/w/b: too deep"]),
        start=9,
    )
    assert programs.action == "program.executed"
    assert programs.details == {
        "count": "3", "programs": "/bin/true x 2, /usr/bin/x x 1", "argv": "true\ncurl --token hmac:13\ntrue",
        "events": "1-3",
    }  # fmt: skip
    assert files.action == "files.changed"
    assert {name: files.details[name] for name in ("created", "unread", "events")} == {
        "created": "1", "unread": "1", "events": "9",
    }  # fmt: skip
    assert list(digest.rest()) == []


def test_digest_says_at_once_what_does_not_match_and_what_nobody_watched() -> None:
    compared = ClaimsCompared(reported=3, seen=2, unseen=["toolu_1"], covered=0, unreported=[])
    gap = ObservationGap(begin="a", end="b", what="the programs", missed=3)
    mismatch, watched = take(Digest(seal=seal), compared, gap)
    assert (mismatch.action, mismatch.details["unseen"]) == ("claims.mismatch", "toolu_1")
    assert (watched.action, watched.details["missed"]) == ("observation.gap", "3")


def test_digest_does_not_grow_with_a_flood() -> None:
    digest = Digest(seal=seal)
    records = take(digest, *[ran("x" * 1000, exe=f"/bin/{number}") for number in range(TOGETHER * 3)])
    assert [record.details["count"] for record in records] == [str(TOGETHER)] * 3
    assert max(len(value) for record in records for value in record.details.values()) <= 4096


def test_digest_has_no_detail_that_the_audit_log_does_not_know() -> None:
    compared = ClaimsCompared(reported=3, seen=2, unseen=["x"], covered=0, unreported=[])
    changes = [FileChange(path="/w/a", change=change) for change in Change]
    gap = ObservationGap(begin="a", end="b", what="the programs", missed=3)
    for record in take(Digest(seal=seal), ran("x"), FilesChanged(changes=changes, unread=["x"]), compared, gap):
        assert all(get_kind(record.action).has(name) for name in record.details), record
