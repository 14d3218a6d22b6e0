"""Which settings are there, of which kind, and with which defaults?"""

from __future__ import annotations

from typing import Literal

import msgspec

from eleagent.wire.limits import OnLimit, SessionLimits
from eleagent_daemon.domain.limits import Allowance
from eleagent_daemon.domain.policy import BUILT_IN, MODEL_ONLY, ApprovalRules, Policy, parse_rule
from eleagent_daemon.domain.sandbox import Ceilings, Limits, Mode


class Docker(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The engine's API socket (Docker Engine; Podman's where it serves)."""

    socket: str = "/var/run/docker.sock"


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`key_file` holds an API key or an OAuth token; without it ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN is taken
    from the daemon's environment. `upstream` may name a loopback address: the operator says so here. `prices` is a
    price list to use instead of the release's.
    """

    upstream: str = "https://api.anthropic.com"
    key_file: str = ""
    prices: str = ""


class Session(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`slots` are sessions at a time, `slots_per_user` those of one user. `spares` is how many sandboxes are kept
    ready behind their gates, 0 for none. `timeout_s` counts from release; `output_bytes` is what one timeline
    may hold of a session's output. Where no `mode` is set the runtime's own holds: without an engine some limits can't
    be had everywhere, so there it is best-effort. An ended session is deleted after `keep_days`, 0 is never.
    """

    slots: int = 8
    slots_per_user: int = 8
    kept_s: float = 259200.0
    kept_most: int = 5
    spares: int = 2
    timeout_s: float = 7200.0
    idle_timeout_s: float = 1800.0
    stop_grace_s: float = 3.0
    policy: str = MODEL_ONLY.name
    mode: Mode = Mode.STRICT
    output_bytes: int = 256 << 20
    keep_days: float = 90.0
    on_daemon_loss: Literal["continue", "pause"] = "continue"


class Audit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`pause_grace_s` is how long sandboxes go on while nothing can be recorded. Records are kept `retention_days`, at
    least 400. `checkpoints_to` is where signed checkpoints go, separated by blanks: `journal`, `syslog`, `file:/PATH`,
    `https://HOST/PATH`.
    """

    pause_grace_s: float = 10.0
    retention_days: int = 400
    checkpoints_to: str = "journal"


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be used before EleAgent steps in; 0 is no limit. Money is US dollars at list price, a day is one in UTC.
    A session may ask for other limits of its own, not for other ones of a day. `on_hang` is what happens to a session
    that made no progress for `session.idle_timeout_s`.
    """

    session_usd: float = 5.0
    user_day_usd: float = 50.0
    key_day_usd: float = 0.0
    project_day_usd: float = 0.0
    session_tokens: int = 0
    session_turns: int = 0
    session_egress_bytes: int = 0
    warn_percent: int = 80
    on_limit: OnLimit = OnLimit.STOP
    on_hang: Literal["stop", "pause", "tell"] = "stop"


class CeilingsText(Ceilings, frozen=True, forbid_unknown_fields=True):
    """The most that a session may ask for."""


class Unix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is in this group of the machine is a member of the organization with `role`, at first contact on the socket;
    out of the group they are out. The socket belongs to the group then.
    """

    group: str = ""
    role: Literal["admin", "member"] = "member"


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """PEM files for `listen`; the key may be read by its owner alone."""

    cert: str = ""
    key: str = ""


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds that an access token is good for, that a login may be idle, and that it lasts whatever it does."""

    access_s: float = 600.0
    idle_s: float = 1800.0
    whole_s: float = 43200.0


class Password(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one check of a password costs (argon2id); hashes of another cost are made anew at the next login."""

    memory_kib: int = 65536
    rounds: int = 3
    lanes: int = 4


class LimitsText(Limits, frozen=True, forbid_unknown_fields=True):
    """What one sandbox may use; every limit is more than 0."""


class PolicyText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tunnel: list[str] = []
    model: bool = True
    server_tools: list[str] = []
    approvals: ApprovalRules = ApprovalRules()


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`user` is the account that eleagentd runs as where root starts it. `listen` is ADDRESS:PORT for clients with a
    login or a key; `hosts` are the names they call it by; `behind_proxy`: a proxy before it speaks TLS. `runtime` auto:
    decided at the first start and written down. `idle_s`: the daemon ends when for so long no session lived or waited
    and no client came; 0 is never.
    """

    home: str = ""
    socket: str = ""
    listen: str = ""
    hosts: list[str] = []
    behind_proxy: bool = False
    user: str = "eleagent"
    runtime: Literal["auto", "docker", "bubblewrap"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    idle_s: float = 0.0
    docker: Docker = Docker()
    model: Model = Model()
    session: Session = Session()
    tls: Tls = Tls()
    unix: Unix = Unix()
    login: Login = Login()
    password: Password = Password()
    limits: LimitsText = LimitsText()
    audit: Audit = Audit()
    ceilings: CeilingsText = CeilingsText()
    budget: Budget = Budget()
    policies: dict[str, PolicyText] = {}

    def session_limits(self) -> SessionLimits:
        """What holds for a session that asks for nothing else."""
        budget = self.budget
        return SessionLimits(
            idle_timeout_s=self.session.idle_timeout_s,
            max_cost_usd=budget.session_usd or None,
            max_tokens=budget.session_tokens or None,
            max_turns=budget.session_turns or None,
            max_egress_bytes=budget.session_egress_bytes or None,
            on_limit=budget.on_limit,
        )

    def day_allowance(self) -> Allowance:
        budget = self.budget
        return Allowance(
            user_day_usd=budget.user_day_usd,
            key_day_usd=budget.key_day_usd,
            project_day_usd=budget.project_day_usd,
        )

    def all_policies(self) -> dict[str, Policy]:
        """The built-in ones and those of the file, which go before them, by name."""
        return BUILT_IN | {
            name: Policy(
                name=name,
                tunnel=tuple(parse_rule(rule) for rule in text.tunnel),
                model=text.model,
                server_tools=frozenset(text.server_tools),
                approvals=text.approvals,
            )
            for name, text in self.policies.items()
        }
