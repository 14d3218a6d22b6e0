"""Which setting wins, and is every wrong one named?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eleagent.errors import ConfigError
from eleagent_daemon.config import Origin, fields, flag_of, load, parse_flags, take_credential, variable
from eleagent_daemon.settings import Config

HOME = {"ELEAGENT_HOME": "/srv/eleagent"}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def origins(found: list[Origin]) -> dict[str, tuple[object, str]]:
    return {origin.name: (origin.value, origin.source) for origin in found}


def test_config_flag_goes_before_environment_before_file_before_default(tmp_path: Path) -> None:
    file = write(tmp_path, '[session]\nslots = 2\ntimeout_s = 20\nstop_grace_s = 1\n[docker]\nsocket = "/f.sock"\n')
    environ = HOME | {"ELEAGENT_SESSION_TIMEOUT_S": "30", "ELEAGENT_SESSION_SLOTS": "3"}
    config, found = load({"session.slots": "4"}, environ=environ, file=file)
    assert (config.session.slots, config.session.timeout_s, config.session.stop_grace_s) == (4, 30.0, 1.0)
    said = origins(found)
    assert said["session.slots"] == (4, "flag --session-slots")
    assert said["session.timeout_s"] == (30.0, "ELEAGENT_SESSION_TIMEOUT_S")
    assert said["docker.socket"] == ("/f.sock", str(file))
    assert said["runtime"] == ("auto", "default")
    assert said["home"] == ("/srv/eleagent", "ELEAGENT_HOME")
    assert said["socket"] == ("/srv/eleagent/run/api.sock", "default")


def test_config_every_setting_has_a_flag_and_a_variable_of_its_own() -> None:
    names = [name for name, _ in fields(Config)]
    assert len({flag_of(name) for name in names}) == len({variable(name) for name in names}) == len(names) > 20
    assert {"session.slots", "limits.memory_bytes", "docker.socket", "home"} <= set(names)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("bogus = 1", "there is no setting bogus; there are: home, socket,"),
        ("[session]\nslot = 1", "there is no setting session.slot; there are: session.slots,"),
        ("[limits]\nmemory = 1", "there is no setting limits.memory; there are: limits.memory_bytes,"),
        ("[docker]\nhost = 'x'", "there is no setting docker.host; there are: docker.socket"),
        ("[policies.p]\nhosts = []", "there is no setting policies.p.hosts; there are: policies.p.tunnel,"),
        ("[session]\nslots = 'many'", "session.slots: must be a whole number, is 'many'"),
        ("[session]\nslots = 1.5", "session.slots: must be a whole number, is 1.5"),
        ("[session]\ntimeout_s = true", "session.timeout_s: must be a number, is True"),
        ("[session]\nmode = 'lax'", "session.mode: must be one of strict, best-effort, is 'lax'"),
        ("session = 3", "session: must be a table, is 3"),
        ("policies = 3", "policies: must be a table, is 3"),
        ("[policies]\np = 3", "policies.p: must be a table, is 3"),
        ("[policies.p]\ntunnel = 'x'", "policies.p.tunnel: must be a list of texts, is 'x'"),
        ("[policies.p]\nmodel = 1", "policies.p.model: must be true or false, is 1"),
        ("user = 3", "user: must be text, is 3"),
        ("log_level = 'loud'", "log_level: must be one of debug, info, warning, error, is 'loud'"),
        ("runtime = 'chroot'", "runtime: must be one of auto, docker, bubblewrap, is 'chroot'"),
        ("[policies.p]\ntunnel = ['https://x/']", "policies.p.tunnel"),
        ("[policies.p]\ntunnel = ['10.0.0.1']", "policies.p.tunnel"),
        ("slots =", "not TOML"),
    ],
)
def test_config_wrong_file_is_refused_with_file_and_path(tmp_path: Path, text: str, told: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load({}, environ=HOME, file=file)
    assert refused.value.message.startswith(str(file))
    assert told in refused.value.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("session.slots", "0"), ("session.slots", "-1"), ("session.timeout_s", "0"), ("session.timeout_s", "nan"),
        ("session.timeout_s", "inf"), ("session.output_bytes", "0"), ("session.stop_grace_s", "-1"),
        ("session.stop_grace_s", "nan"), ("limits.memory_bytes", "0"), ("limits.cpus", "-0.5"), ("limits.pids", "0"),
        ("session.policy", "none-such"), ("listen", "0.0.0.0:80"), ("listen", "[::]:80"), ("listen", ":80"),
        ("listen", "127.0.0.1"), ("listen", "localhost:x"), ("listen", "127.0.0.1:70000"), ("listen", "::1:80"),
        ("listen", "server.example:80"), ("tls.cert", "/c"), ("login.idle_s", "0"), ("login.access_s", "inf"),
        ("password.memory_kib", "1024"), ("password.rounds", "1"), ("password.lanes", "0"), ("home", "relative/path"),
        ("socket", "/" + "x" * 107), ("home", "/" + "x" * 90),
    ],
)  # fmt: skip
def test_config_impossible_value_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load({name: value}, environ=HOME, file=write(tmp_path, ""))
    assert name in refused.value.message


@pytest.mark.parametrize(
    "flags",
    [
        {"listen": "127.0.0.1:7420"}, {"listen": "[::1]:0"}, {"listen": "localhost:443"},
        {"listen": "0.0.0.0:443", "tls.cert": "/c", "tls.key": "/k"}, {"listen": "[::]:443", "behind_proxy": "true"},
    ],
)  # fmt: skip
def test_config_tcp_is_loopback_or_has_tls_or_a_proxy(tmp_path: Path, flags: dict[str, str]) -> None:
    config, _ = load(flags, environ=HOME, file=write(tmp_path, ""))
    assert config.listen == flags["listen"]


def test_config_names_of_the_daemon_are_a_list_in_the_file_and_a_text_elsewhere(tmp_path: Path) -> None:
    assert load({}, environ=HOME, file=write(tmp_path, "hosts=['a','b']"))[0].hosts == ["a", "b"]
    assert load({"hosts": "a, b"}, environ=HOME, file=write(tmp_path, ""))[0].hosts == ["a", "b"]


def test_config_switch_needs_no_value() -> None:
    assert parse_flags(["--behind-proxy", "--home", "/h"])[0] == {"behind_proxy": "true", "home": "/h"}
    assert parse_flags(["--behind-proxy"])[0] == {"behind_proxy": "true"}
    assert parse_flags(["--behind-proxy", "false"])[0] == {"behind_proxy": "false"}


@pytest.mark.parametrize(
    "secret", ["changeme", "your-api-key-here", "sk-ant-xxxxxxxxxxxxxxxx", "aaaaaaaaaaaaaaaaaaaa", "x"]
)
def test_config_placeholder_for_a_secret_stops_the_start(tmp_path: Path, secret: str) -> None:
    config, _ = load({}, environ=HOME, file=write(tmp_path, ""))
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"):
        with pytest.raises(ConfigError, match=name) as refused:
            take_credential(config, {name: secret})
        assert secret not in refused.value.message.replace(name, "") or len(secret) < 3


def test_config_variable_that_is_no_setting_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "")
    with pytest.raises(ConfigError, match="ELEAGENT_SLOTS is no setting"):
        load({}, environ=HOME | {"ELEAGENT_SLOTS": "3"}, file=file)
    with pytest.raises(ConfigError, match="ELEAGENT_SESSION_SLOTS: must be a whole number, is 'x'"):
        load({}, environ=HOME | {"ELEAGENT_SESSION_SLOTS": "x"}, file=file)
    load({}, environ=HOME | {"ELEAGENT_HOST": "unix:///x", "ELEAGENT_CONFIG": "/x", "PATH": "/bin"}, file=file)


def test_config_file_that_is_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such configuration file"):
        load({}, environ=HOME | {"ELEAGENT_CONFIG": str(tmp_path / "none")})
    with pytest.raises(ConfigError, match="Is a directory"):
        load({}, environ=HOME, file=tmp_path)


def test_config_policies_are_the_files_or_built_in(tmp_path: Path) -> None:
    file = write(tmp_path, "[session]\npolicy='lab'\n[policies.lab]\ntunnel=['.Example.org:8443']\nmodel=false\n")
    config, _ = load({}, environ=HOME, file=file)
    lab = config.all_policies()["lab"]
    assert (lab.model, lab.tunnel_rule("a.example.org", 8443) is not None) == (False, True)
    assert lab.tunnel_rule("a.example.org", 443) is None
    assert config.all_policies()["model-only"].tunnel == ()
    assert list(config.all_policies()) == ["model-only", "seed-connect", "lab"]


def test_config_flags_are_read_in_every_form() -> None:
    flags, file = parse_flags(
        ["--session-slots", "3", "--docker-socket=/x", "--set", "session.policy=p=q", "--config", "/c"]
    )
    assert flags == {"session.slots": "3", "docker.socket": "/x", "session.policy": "p=q"}
    assert file == Path("/c")
    assert parse_flags(["--listen=", "--home", "/h"])[0] == {"listen": "", "home": "/h"}, (
        "an empty value takes no other"
    )
    for wrong, told in (
        (["--bogus", "1"], "--bogus"),
        (["--home"], "needs a value"),
        (["--set", "x"], "NAME=VALUE"),
        (["extra"], "^extra: no such argument"),
        (["extra", "--home", "/h"], "^extra: no such"),
    ):
        with pytest.raises(ConfigError, match=told):
            parse_flags(wrong)
    with pytest.raises(ConfigError, match="--set bogus: no such setting"):
        load({"bogus": "1"}, environ=HOME, file=Path(os.devnull))


# The credential


KEY = "sk-ant-api03-0f9b7c41d2"
TOKEN = "sk-ant-oat01-77ab3e5d10"


def key_file(tmp_path: Path, text: str, mode: int = 0o600) -> Config:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(mode)
    return load({"model.key_file": str(path)}, environ=HOME, file=Path(os.devnull))[0]


@pytest.mark.parametrize(
    ("environ", "taken"),
    [
        ({}, ("", "")),
        ({"ANTHROPIC_API_KEY": f" {KEY}\n"}, ("API key", KEY)),
        ({"CLAUDE_CODE_OAUTH_TOKEN": TOKEN}, ("OAuth token", TOKEN)),
        ({"ANTHROPIC_API_KEY": KEY, "CLAUDE_CODE_OAUTH_TOKEN": TOKEN}, ("API key", KEY)),
        ({"ANTHROPIC_API_KEY": " "}, ("", "")),
    ],
)
def test_credential_is_taken_out_of_the_environment(environ: dict[str, str], taken: tuple[str, str]) -> None:
    environ = environ | {"OTHER": "x"}
    assert take_credential(load({}, environ=HOME, file=Path(os.devnull))[0], environ) == taken
    assert environ == {"OTHER": "x"}


def test_credential_of_a_file_goes_before_the_environment(tmp_path: Path) -> None:
    environ = {"ANTHROPIC_API_KEY": KEY}
    assert take_credential(key_file(tmp_path, f"{KEY}\n"), environ) == ("API key", KEY)
    assert environ == {}
    assert take_credential(key_file(tmp_path, TOKEN), {}) == ("OAuth token", TOKEN)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_credential_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=f"mode {mode:o}.*chmod 600") as refused:
        take_credential(key_file(tmp_path, "sk-secret", mode), {})
    assert "sk-secret" not in refused.value.message


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_credential_file_without_a_key_is_refused(tmp_path: Path, content: bytes | None) -> None:
    config = key_file(tmp_path, "")
    path = Path(config.model.key_file)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.key_file"):
        take_credential(config, {})


# The command


def show(tmp_path: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return subprocess.run(
        [sys.executable, "-P", "-m", "eleagent_daemon.config", "show", *arguments],
        env=kept | {"HOME": str(tmp_path), "ELEAGENT_CONFIG": str(write(tmp_path, "[session]\nslots = 2\n"))} | environ,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_config_show_prints_each_value_and_where_it_came_from(tmp_path: Path) -> None:
    done = show(tmp_path, "--home", "/h", ELEAGENT_LOG_LEVEL="debug", ANTHROPIC_API_KEY="sk-secret")
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert lines["home"] == '"/h"  (flag --home)'
    assert lines["log_level"] == '"debug"  (ELEAGENT_LOG_LEVEL)'
    assert lines["session.slots"] == f"2  ({tmp_path}/config.toml)"
    assert lines["runtime"] == '"auto"  (default; decided at the first start)'
    assert "sk-secret" not in done.stdout
    as_json = json.loads(show(tmp_path, "--json", "--home", "/h").stdout)
    assert {"name": "home", "value": "/h", "source": "flag --home"} in as_json


def test_config_show_has_the_policies_of_the_file_and_the_built_in(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[policies.lab]\ntunnel = ['.Example.org']\nmodel = false\n")
    done = show(tmp_path, "--home", "/h", "--config", str(file))
    lab = '{"tunnel": [".example.org:443"], "model": false, "server_tools": []}'
    assert ["policies.lab", f"{lab}  ({file})"] in [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    (built_in,) = [line for line in done.stdout.splitlines() if line.startswith("policies.model-only ")]
    assert built_in.endswith('{"tunnel": [], "model": true, "server_tools": []}  (built in)')


def test_config_show_of_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    done = show(tmp_path, ELEAGENT_BOGUS="1")
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "ELEAGENT_BOGUS" in done.stderr


def test_config_without_a_mode_has_the_runtimes_own() -> None:
    for flags, mode in (
        ({}, "strict"),
        ({"runtime": "bubblewrap"}, "best-effort"),
        ({"runtime": "bubblewrap", "session.mode": "strict"}, "strict"),
    ):
        config, found = load(flags, environ=HOME)
        assert config.session.mode == mode
        value, source = origins(found)["session.mode"]
        assert (value, source == "default") == (mode, "session.mode" not in flags)


@pytest.mark.parametrize(
    ("place", "taken"),
    [
        ("journal", True),
        ("http://127.0.0.1:8080/x", True),
        ("https://auditor.example/x", True),
        ("http://auditor.example/x", False),
        ("http://127.0.0.1.example/x", False),
        ("http://127.0.0.1:80@auditor.example/x", False),
    ],
)
def test_config_lets_checkpoints_leave_this_machine_over_tls_alone(place: str, taken: bool) -> None:
    flags = {"audit.checkpoints_to": place}
    if taken:
        assert load(flags, environ=HOME, file=Path(os.devnull))[0].audit.checkpoints_to == place
        return
    with pytest.raises(ConfigError, match="is none of journal, syslog"):
        load(flags, environ=HOME, file=Path(os.devnull))
