"""Is what can't be started refused before anything is made, with its field named?"""

from __future__ import annotations

from typing import Any

import pytest

from eleagent.errors import BadRequest, Conflict, NotFound, TooLarge, UnknownAgent
from eleagent.wire.events import ApprovalAnswered, OutputText
from eleagent.wire.sessions import PROMPT_LIMIT_BYTES, SessionCreate
from eleagent_daemon.domain.doors import PLACEHOLDER_KEY
from eleagent_daemon.domain.launch import Source
from eleagent_daemon.domain.policy import BUILT_IN
from eleagent_daemon.domain.sandbox import MODEL_PORT, TUNNEL_PORT, Doors
from eleagent_daemon.sessions.admission import check_request, choose_policy, make_adapter, title
from eleagent_daemon.sessions.catalogue import get_profile
from eleagent_daemon.sessions.claude import ClaudeAdapter
from eleagent_daemon.sessions.command import CommandAdapter
from eleagent_daemon.sessions.environment import base_environment, check_environment
from eleagent_daemon.sessions.starting import place_data

OURS = [
    *("PATH", "HOME", "https_proxy", "ALL_PROXY", "No_Proxy", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
    *("CLAUDE_CODE_OAUTH_TOKEN", "LD_PRELOAD", "BUN_TMPDIR", "NODE_OPTIONS", "DISABLE_X", "ELEAGENT_X"),
]


def check(**changes: Any) -> None:
    given = {"agent": "claude", "prompt": "do it"} | changes
    check_request(SessionCreate(**given), get_profile(given["agent"]))


def test_admission_takes_what_can_be_started() -> None:
    check(name="a.b-c_1", model="claude-opus-4-8[1m]", timeout_s=0.5, data=["/srv/x"], env={"LC_ALL": "C"}, ask=True)
    check(agent="command", prompt=None, argv=["true"])
    check(prompt="x" * PROMPT_LIMIT_BYTES)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"prompt": None}, "the prompt is empty: say"),
        ({"prompt": " \n"}, "the prompt is empty: say"),
        ({"argv": ["x"]}, "takes a prompt (eleagent run PROMPT), no program: programs run as eleagent run -- PROGRAM"),
        ({"argv": ["x"], "prompt": None}, "agent claude takes a prompt"),
        ({"agent": "command", "prompt": None}, "eleagent run -- PROGRAM"),
        ({"agent": "command", "prompt": None, "argv": []}, "eleagent run -- PROGRAM"),
        ({"agent": "command", "argv": ["x"]}, "eleagent run -- PROGRAM"),
        ({"agent": "command", "prompt": None, "argv": ["x", "a\0b"]}, "NUL"),
        ({"agent": "command", "prompt": None, "argv": ["x"], "ask": True}, "--ask"),
        *(({"name": name}, "name") for name in ("", "-x", ".x", "a b", "a/b", "ä", "@", "x\n", "x" * 64)),
        ({"name": "s-abcdefghij"}, "not a session's key"),
        ({"timeout_s": 1e12}, "timeout 1e+12: must be more than 0 and less than 10000000 seconds"),
        *(({"timeout_s": value}, "timeout") for value in (0, -1, float("nan"), float("inf"), 1e12)),
        *(({"model": name}, "model") for name in ("", "-x", "a b", "--dangerously", "x" * 101, "a\nb")),
        *(({"data": [path]}, "absolute") for path in ("x", "./x", "", "~/x", "/a\0b")),
        *(({"env": {name: "x"}}, "not a variable's name") for name in ("", "1A", "A-B", "A B", "A=B", "Ä", "A\n")),
        *(({"env": {name: "x"}}, "EleAgent sets this one itself") for name in OURS),
        ({"env": {"A": "secret\0"}}, "NUL"),
        ({"env": {"A": "secret" * 9999}}, "32768"),
    ],
)  # fmt: skip
def test_admission_refuses_by_name(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadRequest) as refused:
        check(**changes)
    assert told in refused.value.message
    assert "\n" not in refused.value.message
    assert "secret" not in refused.value.message


def test_admission_counts_a_prompt_in_bytes_and_says_what_to_do() -> None:
    with pytest.raises(TooLarge, match=rf"{PROMPT_LIMIT_BYTES + 2} bytes.*--data"):
        check(prompt="ä" * (PROMPT_LIMIT_BYTES // 2 + 1))


def test_admission_gives_what_is_asked_for_beside_the_prompt_1_mib() -> None:
    check(prompt="\1" * PROMPT_LIMIT_BYTES, model_script="x" * (1 << 19))
    for more in ({"model_script": "x" * (1 << 20)}, {"agent": "command", "prompt": None, "argv": ["x" * (1 << 20)]}):
        with pytest.raises(TooLarge, match=r"beside the prompt has \d+ bytes, 1048576 are allowed"):
            check(**more)


def test_admission_of_an_unknown_agent_names_the_known() -> None:
    with pytest.raises(UnknownAgent, match="claude, command"):
        get_profile("gpt")


def test_choose_policy_is_the_requests_or_the_default() -> None:
    request = SessionCreate(policy="seed-connect")
    assert choose_policy(request, "model-only", BUILT_IN).name == "seed-connect"
    assert choose_policy(SessionCreate(), "model-only", BUILT_IN).name == "model-only"
    with pytest.raises(BadRequest, match="no policy 'none'; there are: model-only, seed-connect"):
        choose_policy(SessionCreate(policy="none"), "model-only", BUILT_IN)


def test_place_data_of_one_name_says_what_to_do() -> None:
    source = Source(token="", is_dir=True, device=1, inode=1, unreadable=[], unreadable_count=0, masked=[])
    with pytest.raises(Conflict, match=r"/a/x, /b/x; rename one, or name a folder that holds both"):
        place_data([("/a/x", source), ("/b/x", source)])
    assert [mount.target for mount in place_data([("/a/x", source), ("/b/y", source)])] == ["/data/x", "/data/y"]


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (SessionCreate(prompt="\n\n  first line \nsecond"), "first line"),
        (SessionCreate(prompt="x" * 81), "x" * 79 + "…"),
        (SessionCreate(prompt="x" * 80), "x" * 80),
        (SessionCreate(argv=["ls", "-l"]), "ls -l"),
        (SessionCreate(argv=[""]), ""),
    ],
)
def test_title_is_one_short_line(request_: SessionCreate, expected: str) -> None:
    assert title(request_) == expected


def test_make_adapter_is_the_profiles() -> None:
    made = make_adapter(get_profile("claude"), "s-a", SessionCreate(prompt="x"), model_door=True)
    assert isinstance(made, ClaudeAdapter)
    made = make_adapter(get_profile("command"), "s-a", SessionCreate(argv=["x"]), model_door=True)
    assert isinstance(made, CommandAdapter)


# What a program is, as a session


@pytest.mark.parametrize(("door", "port"), [(True, MODEL_PORT), (False, 0)])
def test_command_is_started_as_it_was_written(door: bool, port: int) -> None:
    launch = CommandAdapter(argv=["ls", "-l", ""], env={"LANG": "C", "X": "1"}, model_door=door).launch()
    assert (launch.argv, launch.stdin) == (("ls", "-l", ""), False)
    assert (launch.doors.model, launch.doors.tunnel) == (port, TUNNEL_PORT)
    assert (launch.env["LANG"], launch.env["X"]) == ("C", "1")
    assert ("ANTHROPIC_BASE_URL" in launch.env) == door


def test_command_says_what_it_printed_and_hears_nothing() -> None:
    adapter = CommandAdapter(argv=["x"], env={}, model_door=False)
    assert adapter.out("a\n") == (OutputText(stream="out", text="a\n"),)
    assert adapter.err("b") == (OutputText(stream="err", text="b"),)
    assert (adapter.unread(), adapter.interrupt(), adapter.farewell()) == ((), None, None)
    with pytest.raises(Conflict, match="takes no input"):
        adapter.say("x", message="m")
    with pytest.raises(NotFound):
        adapter.answer(ApprovalAnswered(id="a-1", allow=True, by_user="ada"))
    assert list(adapter.questions()) == []


def test_environment_points_at_the_open_doors_alone() -> None:
    closed = base_environment(Doors(tunnel=0, model=0))
    assert not [name for name in closed if "PROXY" in name.upper() or name.startswith("ANTHROPIC")]
    opened = base_environment(Doors(tunnel=1, model=2))
    assert {opened[name] for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")} == {
        "http://127.0.0.1:1"
    }
    assert opened["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:2"
    assert opened["ANTHROPIC_API_KEY"] == PLACEHOLDER_KEY
    assert not {"ALL_PROXY", "all_proxy"} & set(opened), "some clients send it keys"


def test_environment_that_is_fine_is_taken() -> None:
    check_environment({"LC_ALL": "C", "_x": "", "A1": "ü" * 100})
