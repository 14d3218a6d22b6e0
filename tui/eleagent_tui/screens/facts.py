"""What does a page of facts about one session have in common: asked for when it is opened and when one comes back?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from textual.app import ComposeResult

from eleagent.operations.sessions import SESSION_GET
from eleagent.wire.sessions import SessionDetail
from eleagent_tui.place import Place
from eleagent_tui.reader import Reader
from eleagent_tui.rows import Row


class SessionFacts(Place):
    """`CRUMB` says which facts, `rows` draws them."""

    NAME = "session"
    CRUMB: ClassVar[str]

    def __init__(self, key: str, *, name: str) -> None:
        super().__init__()
        self.key = key
        self._title = name

    def body(self) -> ComposeResult:
        yield Reader(lambda _: [(("dim", "asking the daemon …"),)])

    def crumbs(self) -> list[str]:
        return [self._title, self.CRUMB]

    def on_mount(self) -> None:
        self.action_reload()

    def come_back(self) -> None:
        self.action_reload()

    def action_reload(self) -> None:
        self.do(self._ask(), group="ask", exclusive=True)

    async def _ask(self) -> None:
        detail: SessionDetail = await self.link.call(SESSION_GET, key=self.key)
        self.query_one(Reader).read(lambda width: list(self.rows(detail, width)))

    def rows(self, detail: SessionDetail, width: int) -> Iterator[Row]:
        """As many cells wide as there are."""
        raise NotImplementedError
