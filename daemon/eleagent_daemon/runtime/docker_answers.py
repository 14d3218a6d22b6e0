"""What does an engine answer? The parts of the Engine API's answers that are read, and what they mean here."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from eleagent_daemon.domain.sandbox import Phase, Status

_PHASES = {
    "created": Phase.CREATED,
    "running": Phase.RUNNING,
    "restarting": Phase.RUNNING,
    "paused": Phase.PAUSED,
    "exited": Phase.EXITED,
    "removing": Phase.EXITED,
    "dead": Phase.EXITED,
    # Podman has these besides.
    "configured": Phase.CREATED,
    "initialized": Phase.CREATED,
    "stopping": Phase.RUNNING,
    "stopped": Phase.EXITED,
}
ENGINE_START_S: Final = 10.0
"""An engine ends what it can't take up before it answers."""

_NEVER = "0001-01-01T00:00:00Z"


def phase(state: str) -> Phase:
    """A state that is not known may be a running one: LOST, so that nobody concludes that it ended."""
    return _PHASES.get(state, Phase.LOST)


class _Answer(msgspec.Struct, frozen=True, rename="pascal"):
    pass


class State(_Answer, frozen=True, rename="pascal"):
    status: str
    exit_code: int = 0
    oom_killed: bool = msgspec.field(name="OOMKilled", default=False)
    pid: int = 0
    started_at: str = ""
    finished_at: str = ""
    error: str = ""

    def read(self) -> Status:
        found = phase(self.status)
        error = self.error or (f"the engine calls it {self.status}" if self.status in ("dead", "removing") else "")
        return Status(
            phase=found,
            exit_code=self.exit_code if found is Phase.EXITED else None,
            oom=self.oom_killed,
            pid=self.pid,
            started_at="" if self.started_at == _NEVER else self.started_at,
            finished_at="" if found is not Phase.EXITED or self.finished_at == _NEVER else self.finished_at,
            error=error,
        )


def ended_with_engine(status: Status, began: float) -> bool:
    """Whether it ran under an engine before the one that answers, which was started at `began` (0: nobody knows), and
    was over when that came up: one that stops ends what it runs, one that was killed finds it and ends it then.
    """
    if status.phase is not Phase.EXITED or not began or not status.started_at or not status.finished_at:
        return False
    started, finished = (datetime.fromisoformat(text).timestamp() for text in (status.started_at, status.finished_at))
    return started < began and finished < began + ENGINE_START_S


class Config(_Answer, frozen=True, rename="pascal"):
    labels: dict[str, str] | None = None
    user: str = ""


class LogConfig(_Answer, frozen=True, rename="pascal"):
    type: str = ""
    config: dict[str, str] | None = None


class Container(_Answer, frozen=True, rename="pascal"):
    """GET /containers/ID/json. `host_config` stays as it came: it is shown, not judged."""

    id: str
    state: State
    image: str = ""
    config: Config = Config()
    driver: str = ""
    app_armor_profile: str = ""
    host_config: dict[str, Any] = {}

    @property
    def labels(self) -> dict[str, str]:
        return self.config.labels or {}

    @property
    def log(self) -> LogConfig:
        return msgspec.convert(self.host_config.get("LogConfig") or {}, LogConfig)


class Image(_Answer, frozen=True, rename="pascal"):
    """GET /images/NAME/json."""

    id: str
    repo_tags: list[str] | None = None
    created: str = ""
    size: int = 0
    config: Config | None = None


class Component(_Answer, frozen=True, rename="pascal"):
    name: str
    version: str = ""


class Version(_Answer, frozen=True, rename="pascal"):
    """GET /version."""

    version: str
    api_version: str
    components: list[Component] | None = None
    platform: dict[str, str] | None = None

    def component(self, name: str) -> str:
        return next((part.version for part in self.components or [] if part.name == name), "")

    @property
    def runc(self) -> str:
        """Podman has it as `OCI Runtime (runc)`, `runc version 1.1.5` and more lines."""
        named = self.component("runc") or self.component("OCI Runtime (runc)")
        return named.partition("\n")[0].removeprefix("runc version ")

    @property
    def is_podman(self) -> bool:
        return bool(self.component("Podman Engine"))


class Info(_Answer, frozen=True, rename="pascal"):
    """GET /info."""

    cgroup_version: str = "1"
    cgroup_driver: str = ""
    driver: str = ""
    security_options: list[str] | None = None
    live_restore_enabled: bool = False
    memory_limit: bool = False
    swap_limit: bool = False
    cpu_cfs_quota: bool = False
    pids_limit: bool = False
    default_runtime: str = ""

    def has_security(self, name: str) -> bool:
        return any(f"name={name}" in option.split(",") for option in self.security_options or [])
