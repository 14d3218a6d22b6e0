"""What does the operation on usage do?"""

from __future__ import annotations

from datetime import date

from eleagent.errors import BadRequest, Refused
from eleagent.operations.usage import USAGE
from eleagent.permissions import Permission, Reach
from eleagent.wire.limits import UsageBy, UsageReport
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.domain.prices import PriceList
from eleagent_daemon.sessions.purse import today
from eleagent_daemon.store.usage import UsageStore


class UsageHandlers:
    def __init__(self, *, usage: UsageStore, prices: PriceList) -> None:
        self._usage = usage
        self._prices = prices

    def table(self) -> Handlers:
        return {USAGE: self.report}

    async def report(self, call: Call) -> UsageReport:
        if call.caller.within is not None:
            raise Refused("this API key is bound to projects, and usage is told of all: ask with another")
        until = _day("until", call.query.get("until", today()))
        since = _day("since", call.query.get("since", until[:8] + "01"))
        name = call.query.get("by", UsageBy.USER.value)
        if name not in set(UsageBy):
            raise BadRequest(f"by {name!r}: usage is told by {', '.join(UsageBy)}")
        everybody = call.caller.reach(Permission.USAGE_READ) is Reach.ANY
        return await self._usage.report(
            UsageBy(name),
            since=since,
            until=until,
            user=None if everybody else call.caller.name,
            prices=f"{self._prices.source} of {self._prices.date}",
        )


def _day(name: str, text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise BadRequest(f"{name} {text!r} is no day: write it as 2026-01-31") from None
