"""Is what an agent said last told in one line of bounded length?"""

from __future__ import annotations

import pytest

from eleagent.wire.events import AgentMessage, AgentThinking, AgentToolCall, OutputText, SessionStarted
from eleagent.wire.payload import Payload
from eleagent_daemon.domain.lastline import LINE_CHARS, last_line


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (AgentMessage("# Result\n\nAll sorted.\n\n"), "All sorted."),
        (OutputText("out", "one\ntwo"), "two"),
        (OutputText("out", "\n \n"), ""),
        (AgentToolCall(id="t", name="Bash", input="{}"), "● Bash"),
        (AgentThinking("hm"), ""),
        (SessionStarted(), ""),
        (AgentMessage("x" * 4000), "x" * LINE_CHARS),
    ],
)
def test_last_line_is_what_a_list_shows(payload: Payload, said: str) -> None:
    assert last_line(payload) == said
