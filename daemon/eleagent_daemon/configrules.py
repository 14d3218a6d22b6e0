"""Can the settings hold together, and which follow from the others?"""

from __future__ import annotations

import math
import os
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from eleagent.client.locate import default_home
from eleagent.errors import ConfigError
from eleagent_daemon.domain.policy import parse_rule
from eleagent_daemon.layout import Layout, check_socket_path
from eleagent_daemon.network import check_listen
from eleagent_daemon.settings import Audit, Config

_GRACE_LIMIT_S = 3600
_RETENTION_DAYS = 400
_POSITIVE = ("slots", "slots_per_user", "timeout_s", "idle_timeout_s", "output_bytes")
_HOLD_LIMIT_S = 600


def complete(config: Config, path: Path) -> Config:
    """Fill in the paths that follow from others, and refuse what can't work."""
    home = Path(config.home or default_home(os.getuid()))
    socket = config.socket or str(
        Path("/run/eleagent/api.sock") if str(home) == "/var/lib/eleagent" else home / "run" / "api.sock"
    )
    if not home.is_absolute():
        raise ConfigError(f"home: {config.home!r} is not an absolute path")
    check_socket_path(Path(socket), "socket" if config.socket else "home")
    check_socket_path(Layout(home).launcher_socket, "home")
    check_listen(config.listen, tls=bool(config.tls.cert or config.tls.key), behind_proxy=config.behind_proxy)
    if bool(config.tls.cert) != bool(config.tls.key):
        raise ConfigError("tls.cert and tls.key belong together: set both or none")
    for name, text in config.policies.items():
        for rule in text.tunnel:
            try:
                parse_rule(rule)
            except ConfigError as err:
                raise ConfigError(f"{path}: policies.{name}.tunnel: {err.message}") from None
        asks = f"{path}: policies.{name}.approvals"
        if not 0 < text.approvals.hold_s <= _HOLD_LIMIT_S:
            raise ConfigError(
                f"{asks}.hold_s: must be more than 0 and at most {_HOLD_LIMIT_S}, is {text.approvals.hold_s:g}"
            )
        if not 0 <= text.approvals.expires_s < math.inf:
            raise ConfigError(f"{asks}.expires_s: must be 0 (never) or more, is {text.approvals.expires_s:g}")
    if config.session.policy not in config.all_policies():
        known = ", ".join(config.all_policies())
        raise ConfigError(f"session.policy: there is no policy {config.session.policy!r}; known: {known}")
    positive = {f"session.{name}": getattr(config.session, name) for name in _POSITIVE}
    positive |= {f"ceilings.{name}": value for name, value in msgspec.structs.asdict(config.ceilings).items()}
    positive |= {f"login.{name}": value for name, value in msgspec.structs.asdict(config.login).items()}
    positive |= {f"limits.{name}": value for name, value in msgspec.structs.asdict(config.limits).items()}
    for name, least in {"memory_kib": 19456, "rounds": 2, "lanes": 1}.items():
        if (given := getattr(config.password, name)) < least:
            raise ConfigError(f"password.{name}: must be at least {least} (OWASP's least for argon2id), is {given}")
    for name, value in positive.items():
        if not 0 < value < math.inf:
            raise ConfigError(f"{name}: must be more than 0, is {value}")
    if not 0 <= config.idle_s < math.inf:
        raise ConfigError(f"idle_s: must be 0 (never) or more, is {config.idle_s}")
    for name, value in msgspec.structs.asdict(config.budget).items():
        if name not in ("on_limit", "on_hang") and not 0 <= value < math.inf:
            raise ConfigError(f"budget.{name}: must be 0 (no limit) or more, is {value}")
    for name in ("kept_s", "kept_most"):
        if not 0 <= (value := getattr(config.session, name)) < math.inf:
            raise ConfigError(f"session.{name}: must be 0 (none is kept) or more, is {value}")
    if not 1 <= config.budget.warn_percent <= 100:
        raise ConfigError(f"budget.warn_percent: must be from 1 to 100, is {config.budget.warn_percent}")
    if not 0 <= config.session.keep_days < math.inf:
        raise ConfigError(f"session.keep_days: must be 0 (for ever) or more, is {config.session.keep_days:g}")
    if not 0 <= config.session.stop_grace_s <= _GRACE_LIMIT_S:
        raise ConfigError(f"session.stop_grace_s: must be from 0 to {_GRACE_LIMIT_S}, is {config.session.stop_grace_s}")
    _check_audit(config.audit)
    return msgspec.structs.replace(config, home=str(home), socket=socket)


def _check_audit(audit: Audit) -> None:
    if not 0 <= audit.pause_grace_s <= _GRACE_LIMIT_S:
        raise ConfigError(f"audit.pause_grace_s: must be from 0 to {_GRACE_LIMIT_S}, is {audit.pause_grace_s}")
    if audit.retention_days < _RETENTION_DAYS:
        raise ConfigError(f"audit.retention_days: must be at least {_RETENTION_DAYS}, is {audit.retention_days}")
    for sink in audit.checkpoints_to.split():
        local = sink.startswith("http://") and urlsplit(sink).hostname == "127.0.0.1"
        if sink not in ("journal", "syslog") and not local and not sink.startswith(("file:/", "https://")):
            raise ConfigError(
                f"audit.checkpoints_to: {sink!r} is none of journal, syslog, file:/PATH, https://HOST/PATH"
            )
