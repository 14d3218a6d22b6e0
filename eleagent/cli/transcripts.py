"""How is a session's timeline taken away as a document, or played again as it happened?"""

from __future__ import annotations

import os
import select
import sys
import time
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from eleagent.cli.invocation import Command, Invocation, pass_invocation
from eleagent.errors import BadRequest
from eleagent.operations.sessions import SESSION_EVENTS, SESSION_EXPORT

LONGEST_PAUSE_S: Final = 3.0
"""A pause of the session that was longer is cut to this."""
_FASTEST: Final = 64.0
_SLOWEST: Final = 1 / 16


@click.command(cls=Command)
@click.argument("key", default="@")
@click.option("--format", "form", type=click.Choice(["jsonl", "markdown"]), default="markdown", help="The document.")
@click.option("-o", "--output", metavar="FILE", help="Write it there; without it to stdout.")
@pass_invocation
def export(invocation: Invocation, key: str, form: str, output: str | None) -> None:
    """Take the timeline of session KEY away; the daemon keeps a copy in artefacts/conversations."""
    pieces = invocation.client.download(SESSION_EXPORT, query={"format": form}, key=key)
    if output is None:
        for piece in pieces:
            invocation.screen.data(piece)
        return
    path = Path(output)
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if invocation.yes else os.O_EXCL)
    try:
        file = open(os.open(path, flags, 0o600), "wb")  # noqa: PTH123, SIM115  # closed below
    except FileExistsError:
        raise BadRequest(f"-o {output}: it exists already (--yes replaces it)") from None
    with file:
        for piece in pieces:
            file.write(piece)
    invocation.screen.note(f"{path} written")


@click.command(cls=Command)
@click.argument("key", default="@")
@click.option("--speed", type=click.FloatRange(_SLOWEST, _FASTEST), default=1.0, help="2 is twice as fast.")
@pass_invocation
def replay(invocation: Invocation, key: str, speed: float) -> None:
    """Play the timeline of session KEY as it happened. On a terminal: space holds, + and - change the speed, q ends."""
    from eleagent.cli.views import choose_view  # what draws events is no list's business
    from eleagent.wire.timeline import Event

    view = choose_view(invocation, key=key)
    with ExitStack() as stack:
        pace = Pace(speed)
        if sys.stdin.isatty() and invocation.screen.interactive:
            from eleagent.cli.attach import keys

            stack.enter_context(keys())
            invocation.screen.note("space holds · + and - change the speed · q ends")
            pace.keys = sys.stdin.fileno()
        for item in invocation.client.stream(SESSION_EVENTS, key=key):
            if isinstance(item, Event) and not pace.wait_for(item.ts):
                break
            view.show(item)
    view.finish()


class Pace:
    """Waits between two events as long as the session did, at a speed. `keys` is a terminal's descriptor."""

    def __init__(self, speed: float, *, keys: int | None = None) -> None:
        self.speed = speed
        self.keys = keys
        self._last: datetime | None = None
        self._held = False

    def wait_for(self, stamp: str) -> bool:
        """Until the event of that time is due; False when the person has had enough."""
        now = datetime.fromisoformat(stamp)
        last, self._last = self._last or now, now
        left_s = min(max(0.0, (now - last).total_seconds()), LONGEST_PAUSE_S)
        while left_s > 0 or self._held:
            began = time.monotonic()
            if not self._pause(left_s / self.speed):
                return False
            if not self._held:
                left_s -= (time.monotonic() - began) * self.speed
        return self._pause(0)

    def _pause(self, seconds: float) -> bool:
        if self.keys is None:
            time.sleep(seconds)
            return True
        if select.select([self.keys], [], [], None if self._held else seconds)[0]:
            return all(self._press(key) for key in os.read(self.keys, 64).decode(errors="replace"))
        return True

    def _press(self, key: str) -> bool:
        match key:
            case "q" | "\x04":
                return False
            case " ":
                self._held = not self._held
            case "+":
                self.speed = min(self.speed * 2, _FASTEST)
            case "-":
                self.speed = max(self.speed / 2, _SLOWEST)
        return True
