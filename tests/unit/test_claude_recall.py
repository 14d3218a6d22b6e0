"""Can a line that a sandbox forged keep the next daemon from reading its own timeline?"""

from __future__ import annotations

import msgspec
import pytest

from eleagent.wire.events import Payload
from eleagent.wire.timeline import Event
from eleagent_daemon.sessions.claude import ClaudeAdapter
from eleagent_daemon.store.timeline import _encode


@pytest.mark.parametrize("parent", [5, [1], {"a": 1}, 1.5, True])
@pytest.mark.parametrize("block", [{"type": "text", "text": "x"}, {"type": "tool_use", "id": 1, "name": 2, "input": 3}])
def test_message_with_a_strange_parent_can_be_read_back(parent: object, block: object) -> None:
    adapter = ClaudeAdapter(session="s-aaaaaaaaaa", model=None, ask=False, env={})
    line = {"type": "assistant", "parent_tool_use_id": parent, "message": {"content": [block]}}
    (item,) = adapter.out(msgspec.json.encode(line))
    assert isinstance(item, Payload)
    assert msgspec.json.decode(_encode(1, "t", item, None), type=Event).payload() == item
