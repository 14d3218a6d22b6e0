"""Who starts a session, and what binds them?"""

from __future__ import annotations

from dataclasses import dataclass

from eleagent_daemon.store.registry import Admit, CallerIdentity


@dataclass(frozen=True, kw_only=True)
class Starter:
    """`identity` opens the host's paths, `owner` is whose the session will be. `token` is an idempotency key,
    `credential` the API key it comes by, which may spend `key_day_usd` on a day (0: no limit of its own), and `admit`
    says whether there is room for one more.
    """

    identity: CallerIdentity
    owner: str
    token: str | None = None
    credential: str = ""
    key_day_usd: float = 0.0
    admit: Admit | None = None
