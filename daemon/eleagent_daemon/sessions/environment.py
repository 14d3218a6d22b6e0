"""What does every process in a sandbox find in its environment?"""

from __future__ import annotations

import re
from typing import Final

from eleagent.errors import BadRequest
from eleagent.wire.inside import URL_VARIABLE
from eleagent_daemon.domain.doors import PLACEHOLDER_KEY
from eleagent_daemon.domain.root import AGENT_FOLDER
from eleagent_daemon.domain.sandbox import HOME_DIR, Doors

# The sandbox's own: a session's -e may not change where traffic goes or what guards the agent.
_OURS: Final = re.compile(
    r"(HOME|PATH|.*_PROXY|ANTHROPIC_.*|CLAUDE_.*|DISABLE_.*|LD_.*|BUN_.*|NODE_OPTIONS|ELEAGENT_.*)", re.IGNORECASE
)
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def base_environment(doors: Doors) -> dict[str, str]:
    """HOME, PATH, and the variables for the doors that are open, without the session's token, which is of one start.
    ALL_PROXY stays unset: some clients send it keys.
    """
    env = {
        "HOME": HOME_DIR,
        "USER": "agent",
        "PATH": f"{AGENT_FOLDER}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own tmpfs
    }
    if doors.tunnel:
        proxy = f"http://127.0.0.1:{doors.tunnel}"
        env |= {"HTTPS_PROXY": proxy, "https_proxy": proxy, "HTTP_PROXY": proxy, "http_proxy": proxy}
        env |= {"NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
    if doors.model:
        env |= {"ANTHROPIC_BASE_URL": f"http://127.0.0.1:{doors.model}", "ANTHROPIC_API_KEY": PLACEHOLDER_KEY}
    if doors.session:
        env[URL_VARIABLE] = f"http://127.0.0.1:{doors.session}"
    return env


def check_environment(env: dict[str, str]) -> None:
    """Raises BadRequest for a name that is none or that EleAgent sets itself. Values are never repeated in an error."""
    for name, value in env.items():
        if not _NAME.fullmatch(name):
            raise BadRequest(f"-e {name!r}: not a variable's name")
        if _OURS.fullmatch(name):
            raise BadRequest(f"-e {name}: EleAgent sets this one itself")
        if "\0" in value or len(value) > 32_768:
            raise BadRequest(f"-e {name}: the value has a NUL or more than 32768 characters")
