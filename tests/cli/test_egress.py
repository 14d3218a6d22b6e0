"""Do `egress ls`, `tail` and `top` show decisions, one a line, and to machines as JSON?"""

from __future__ import annotations

import json

from eleagent.wire.egress import Door, EgressDecision, EgressHost, EgressList, EgressTop

from .conftest import CommandLine
from .fakedaemon import KEY, NOW, Call, FakeDaemon


def decision(number: int, *, allowed: bool = True, **more) -> EgressDecision:
    facts = {"door": Door.TUNNEL, "host": "a.example:443", "rule": "allow" if allowed else "none"}
    return EgressDecision(id=number, session=KEY, seq=number, ts=NOW, allowed=allowed, **(facts | more))


def test_egress_ls_asks_for_what_was_meant_and_names_the_page_before(eleagent: CommandLine, daemon: FakeDaemon) -> None:
    refused = decision(7, allowed=False, host="evil.example:443", count=3, reason="\x1b[31mno")
    daemon.scripts["egress_list"] = lambda call: EgressList([decision(6), refused], 6)
    done = eleagent("egress", "ls", KEY, "--refused", "--text", "evil", "-n", "2")
    assert done.code == 0, done.err
    assert "evil.example:443" in done.out
    assert "refused x 3" in done.out
    assert "egress ls --before 6" in done.err
    (call,) = daemon.calls
    assert call.query == {"session": KEY, "text": "evil", "refused": "true", "limit": "2", "newest": "true"}


def test_egress_tail_goes_on_after_the_last_it_showed(eleagent: CommandLine, daemon: FakeDaemon) -> None:
    pages = {None: [decision(1), decision(2)], "2": [decision(3, reason="late")]}

    def answer(call: Call) -> EgressList:
        return EgressList(pages.get(call.query.get("after"), []))

    daemon.scripts["egress_list"] = answer
    child = eleagent.start("egress", "tail", "-f")
    assert child.stdout is not None
    lines = [child.stdout.readline().decode() for _ in range(3)]
    child.kill()
    child.communicate()
    assert lines[0].count("allowed a.example:443 (rule allow)") == 1
    assert lines[2].endswith(": late\n")


def test_egress_top_counts_hosts(eleagent: CommandLine, daemon: FakeDaemon) -> None:
    host = EgressHost(host="a.example:443", allowed=2, refused=1, sessions=1, bytes_up=5, bytes_down=7000, last=NOW)
    daemon.scripts["egress_top"] = lambda call: EgressTop([host])
    assert "a.example:443" in eleagent("egress", "top").out
    assert json.loads(eleagent("egress", "top", "--json").out)["hosts"][0]["refused"] == 1
