"""Which settings hold, and where did each come from?

A flag goes before ELEAGENT_*, that before the file, that before the default. The only module that reads the environment
and the configuration file.
"""

from __future__ import annotations

import json
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from eleagent.client.locate import default_home
from eleagent.errors import ConfigError, EleAgentError
from eleagent_daemon.choice import AUTO, chosen
from eleagent_daemon.configcheck import check, check_secret, convert
from eleagent_daemon.configrules import complete
from eleagent_daemon.domain.policy import ApprovalRules, Policy
from eleagent_daemon.domain.sandbox import BUBBLEWRAP, Mode
from eleagent_daemon.layout import Layout
from eleagent_daemon.settings import Config


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
    config = complete(msgspec.convert(merged, Config), path)
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
