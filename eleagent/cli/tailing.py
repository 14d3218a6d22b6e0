"""How are the newest of numbered records shown one a line, and those that come?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from eleagent.cli.invocation import Invocation
from eleagent.operations.operation import Operation

PAGE: Final = 1000
"""The most that one answer has."""
POLL_S: Final = 1.0

T = TypeVar("T")


def tail(
    invocation: Invocation,
    operation: Operation,
    query: Mapping[str, Any],
    *,
    limit: int,
    follow: bool,
    records: Callable[[Any], list[T]],
    number: Callable[[T], int],
    say: Callable[[T], None],
) -> None:
    """The last `limit` that `operation` lists, and with `follow` on for ever. An answer has `records`, and `next` where
    there are more.
    """
    last = 0
    while True:
        more = {"after": last, "limit": PAGE} if last else {"limit": limit, "newest": True}
        found = invocation.client.call(operation, query={**query, **more})
        for one in records(found):
            last = number(one)
            if invocation.json:
                invocation.emit(one)
            else:
                say(one)
        if not follow:
            return
        if not (last and found.next):
            time.sleep(POLL_S)
