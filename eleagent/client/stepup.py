"""What does a client do where the daemon wants the password of a login once more?"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from eleagent.client.exchange import Request, request_for
from eleagent.errors import StepUp
from eleagent.operations.logins import LOGIN_CONFIRM
from eleagent.wire.logins import LoginConfirm

AskPassword = Callable[[StepUp], str]
"""What a person says when asked, on a terminal say. Raises what the caller is to get where nobody can be asked."""
AskPasswordSoon = Callable[[StepUp], Awaitable[str]]


def confirmation(password: str) -> Request:
    """What gives the password once more: for five minutes everything that wants a fresh one works then. A wrong one is
    answered as Unauthenticated with the reason `password`.
    """
    return request_for(LOGIN_CONFIRM, body=LoginConfirm(password=password), query=None, path={})
