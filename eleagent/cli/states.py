"""How is a session's state shown?"""

from __future__ import annotations

from eleagent.cli.screen import Span, Style
from eleagent.wire.states import State

STATE_STYLES = {
    State.QUEUED: Style.DIM, State.STARTING: Style.NAME, State.RUNNING: Style.NAME, State.STOPPING: Style.WARN,
    State.WAITING: Style.WARN, State.PAUSED: Style.WARN, State.SUCCEEDED: Style.GOOD, State.STOPPED: Style.WARN,
}  # fmt: skip


def state_span(state: State) -> Span:
    return STATE_STYLES.get(state, Style.BAD), state
