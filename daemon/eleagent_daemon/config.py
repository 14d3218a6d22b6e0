"""Which settings hold, and where did each come from?

A flag goes before ELEAGENT_*, that before the file, that before the default. The only module that reads the environment
and the configuration file.
"""

from __future__ import annotations

import json
import math
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from eleagent.client.locate import default_home
from eleagent.errors import ConfigError, EleAgentError
from eleagent.wire.limits import OnLimit, SessionLimits
from eleagent_daemon.choice import AUTO, chosen
from eleagent_daemon.configcheck import check, check_secret, convert
from eleagent_daemon.domain.limits import Allowance
from eleagent_daemon.domain.policy import BUILT_IN, MODEL_ONLY, ApprovalRules, Policy, parse_rule
from eleagent_daemon.domain.sandbox import BUBBLEWRAP, Ceilings, Limits, Mode
from eleagent_daemon.layout import Layout, check_socket_path
from eleagent_daemon.network import check_listen


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


@dataclass(frozen=True)
class Origin:
    """One setting as it holds, and where it came from (`flag --x`, a variable, a file, `default`)."""

    name: str
    value: object
    source: str


def fields(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and types of every single setting (policies are tables of the file alone)."""
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            yield from fields(field.type, f"{prefix}{field.name}.")
        elif field.name != "policies":
            yield prefix + field.name, field.type


def variable(name: str) -> str:
    return "ELEAGENT_" + name.replace(".", "_").upper()


def flag_of(name: str) -> str:
    return "--" + name.replace(".", "-").replace("_", "-")


def default_file() -> Path:
    if os.getuid() == 0:
        return Path("/etc/eleagent/config.toml")
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "eleagent" / "config.toml"


_GRACE_LIMIT_S = 3600
_RETENTION_DAYS = 400
_POSITIVE = ("slots", "slots_per_user", "timeout_s", "idle_timeout_s", "output_bytes")
_HOLD_LIMIT_S = 600

# Names of ELEAGENT_* that clients read, so that the daemon does not take them for misspelt settings.
_CLIENT_VARIABLES = frozenset({"ELEAGENT_HOST", "ELEAGENT_CONFIG", "ELEAGENT_CONTEXT", "ELEAGENT_API_KEY"})


def load(
    flags: Mapping[str, str], *, environ: Mapping[str, str], file: Path | None = None
) -> tuple[Config, list[Origin]]:
    """Raises ConfigError naming file and path of an unknown key or a bad value."""
    path, named = (file, True) if file else _named_file(environ)
    merged: dict[str, Any] = _read(path, must_exist=named)
    known = dict(fields(Config))
    sources = {name: str(path) for name in known if _get(merged, name) is not None}
    for name, value in environ.items():
        if not name.startswith("ELEAGENT_") or name in _CLIENT_VARIABLES:
            continue
        setting = next((key for key in known if variable(key) == name), None)
        if setting is None:
            raise ConfigError(f"environment: {name} is no setting of EleAgent (see: eleagent config show)")
        _set(merged, setting, convert(value, known[setting], f"environment: {name}", strict=False))
        sources[setting] = name
    for name, value in flags.items():
        if name not in known:
            raise ConfigError(f"--set {name}: no such setting (see: eleagent config show)")
        _set(merged, name, convert(value, known[name], f"flag: {name}", strict=False))
        sources[name] = f"flag {flag_of(name)}"
    check(merged, Config, str(path))
    if _get(merged, "session.mode") is None and _runtime(merged, environ) == BUBBLEWRAP:
        _set(merged, "session.mode", Mode.BEST_EFFORT)
    config = _complete(msgspec.convert(merged, Config), path)
    settings = [Origin(name, _get(msgspec.to_builtins(config), name), sources.get(name, "default")) for name in known]
    return config, settings + [
        Origin(f"policies.{name}", _policy_text(policy), str(path) if name in config.policies else "built in")
        for name, policy in config.all_policies().items()
    ]


def _runtime(merged: dict[str, Any], environ: Mapping[str, str]) -> str | None:
    """The one that is set, or was decided for; None before that."""
    setting = merged.get("runtime", AUTO)
    home = Path(merged.get("home") or default_home(os.getuid(), environ))
    try:
        return chosen(setting, Layout(home).runtime_file).runtime
    except ConfigError:
        return None


def _policy_text(policy: Policy) -> dict[str, object]:
    """As it stands, or would stand, in the file."""
    rules = [str(rule) for rule in policy.tunnel]
    asks = {"approvals": msgspec.to_builtins(policy.approvals)} if policy.approvals != ApprovalRules() else {}
    return {"tunnel": rules, "model": policy.model, "server_tools": sorted(policy.server_tools)} | asks


def _complete(config: Config, path: Path) -> Config:
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
        if sink not in ("journal", "syslog") and not sink.startswith(("file:/", "https://", "http://127.0.0.1")):
            raise ConfigError(
                f"audit.checkpoints_to: {sink!r} is none of journal, syslog, file:/PATH, https://HOST/PATH"
            )


def _named_file(environ: Mapping[str, str]) -> tuple[Path, bool]:
    named = environ.get("ELEAGENT_CONFIG")
    return (Path(named), True) if named else (default_file(), False)


def _read(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        if must_exist:
            raise ConfigError(f"{path}: no such configuration file") from None
        return {}
    except OSError as err:
        raise ConfigError(f"{path}: {err.strerror}") from None
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as err:
        raise ConfigError(f"{path}: not TOML: {err}") from None


def _get(tree: Any, name: str) -> Any:
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _set(tree: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for part in parents:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"{part}: is a table of settings, not a value")
    tree[last] = value


def take_credential(config: Config, environ: MutableMapping[str, str]) -> tuple[str, str]:
    """The model's credential as (kind, secret), both empty when there is none; it is gone from `environ` afterwards, so
    that no child inherits it.

    Raises ConfigError when `model.key_file` can't be read or others may read it.
    """
    key, token = environ.pop("ANTHROPIC_API_KEY", "").strip(), environ.pop("CLAUDE_CODE_OAUTH_TOKEN", "").strip()
    if config.model.key_file:
        path = Path(config.model.key_file)
        try:
            mode, secret = path.stat().st_mode, path.read_text().strip()
        except (OSError, UnicodeDecodeError) as err:
            raise ConfigError(f"model.key_file: {path}: {err}") from None
        if mode & 0o077:
            raise ConfigError(f"model.key_file: {path} may be read by others (mode {mode & 0o777:o}): chmod 600 {path}")
        if not secret:
            raise ConfigError(f"model.key_file: {path} is empty: write the key into it")
        check_secret(secret, f"model.key_file: {path}")
        return ("OAuth token" if secret.startswith("sk-ant-oat") else "API key"), secret
    for name, value in (("ANTHROPIC_API_KEY", key), ("CLAUDE_CODE_OAUTH_TOKEN", token)):
        if value:
            check_secret(value, f"environment: {name}")
    if key:
        return "API key", key
    return ("OAuth token", token) if token else ("", "")


def credentials_folder(environ: Mapping[str, str]) -> Path | None:
    """Where the service manager puts LoadCredential= (systemd.exec(5))."""
    return Path(folder) if (folder := environ.get("CREDENTIALS_DIRECTORY")) else None


def parse_flags(arguments: Sequence[str]) -> tuple[dict[str, str], Path | None]:
    """`--config FILE`, `--set name=value`, and `--name value` for every setting (`--docker-socket PATH`); one that is
    true or false needs no value to be true (`--behind-proxy`).
    """
    flags: dict[str, str] = {}
    file: Path | None = None
    known = {flag_of(name): name for name, _ in fields(Config)}
    switches = {flag_of(name) for name, kind in fields(Config) if kind is bool}
    rest = list(arguments)
    while rest:
        flag, equals, value = rest.pop(0).partition("=")
        if not flag.startswith("-"):
            raise ConfigError(f"{flag}: no such argument (settings are flags: --NAME VALUE)")
        if not equals and flag in switches and (not rest or rest[0].startswith("-")):
            value = "true"
        elif not equals:
            if not rest:
                raise ConfigError(f"{flag} needs a value")
            value = rest.pop(0)
        if flag == "--config":
            file = Path(value)
        elif flag == "--set":
            name, equals, value = value.partition("=")
            if not equals:
                raise ConfigError(f"--set {name}: write NAME=VALUE")
            flags[name] = value
        elif flag in known:
            flags[known[flag]] = value
        else:
            raise ConfigError(f"{flag}: no such flag (every setting has one, see: eleagent config show)")
    return flags, file


def main(arguments: Sequence[str]) -> int:
    """`eleagent config show [--json]`: each setting, its value and its source."""
    as_json = "--json" in arguments
    try:
        flags, file = parse_flags([argument for argument in arguments if argument not in ("show", "--json")])
        config, origins = load(flags, environ=os.environ, file=file)
    except EleAgentError as err:
        print(f"eleagent: {err.message}", file=sys.stderr)  # noqa: T201 - this is a command
        return err.exit_code
    rows = [(one.name, one.value, one.source + _decided(one, config)) for one in origins]
    if as_json:
        print(json.dumps([{"name": name, "value": value, "source": source} for name, value, source in rows]))  # noqa: T201
    else:
        width = max(len(name) for name, _, _ in rows)
        for name, value, source in rows:
            print(f"{name:{width}}  {json.dumps(value)}  ({source})")  # noqa: T201
    return 0


def _decided(origin: Origin, config: Config) -> str:
    """What `auto` has come to, where that is known."""
    if origin.name != "runtime" or origin.value != AUTO:
        return ""
    try:
        return f"; {chosen(AUTO, Layout(Path(config.home)).runtime_file)}"
    except ConfigError:
        return "; decided at the first start"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
