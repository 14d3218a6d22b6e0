"""Is this a session that can be started? Says what is wrong before anything is made."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

import msgspec

from eleagent.errors import BadRequest, CredentialMissing, TooLarge
from eleagent.wire.limits import LimitsUpdate, SessionLimits
from eleagent.wire.sessions import KEY_PATTERN, PROMPT_LIMIT_BYTES, SessionCreate
from eleagent_daemon.domain.doors import Gateway, Terms
from eleagent_daemon.domain.policy import Policy
from eleagent_daemon.domain.sandbox import Ceilings
from eleagent_daemon.sessions.adapter import Adapter
from eleagent_daemon.sessions.catalogue import Profile
from eleagent_daemon.sessions.claude import ClaudeAdapter
from eleagent_daemon.sessions.command import CommandAdapter
from eleagent_daemon.sessions.environment import check_environment

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TITLE_CHARACTERS: Final = 80
_TIMEOUT_LIMIT_S: Final = 10_000_000
_GRACE_LIMIT_S: Final = 3600

REST_LIMIT_BYTES: Final = 1 << 20


def check_name(name: str) -> None:
    """Raises BadRequest for what a session can't be called by."""
    if not _NAME.fullmatch(name) or re.match(KEY_PATTERN, name):
        raise BadRequest(f"name {name!r}: use letters, digits, '.', '_' and '-', at most 63, and not a session's key")


def check_prompt(text: str) -> None:
    """Raises BadRequest or TooLarge for what can't be said to an agent."""
    if not text.strip():
        raise BadRequest("the prompt is empty: say what is to be done")
    if (size := len(text.encode())) > PROMPT_LIMIT_BYTES:
        raise TooLarge(
            f"the prompt has {size} bytes, {PROMPT_LIMIT_BYTES} are allowed: "
            "put the text into a file and pass it with --data",
            limit_bytes=PROMPT_LIMIT_BYTES,
        )


def check_request(request: SessionCreate, profile: Profile) -> None:
    """Raises BadRequest or TooLarge, naming the field, the value, and what would do."""
    if profile.adapter == "command":
        if not request.argv or request.prompt is not None:
            raise BadRequest("agent command runs a program: eleagent run -- PROGRAM ARGS…")
        if any("\0" in part for part in request.argv):
            raise BadRequest("the program's arguments have a NUL byte")
    elif request.argv is not None:
        raise BadRequest(
            f"agent {profile.name} takes a prompt (eleagent run PROMPT), no program: "
            "programs run as eleagent run -- PROGRAM ARGS…"
        )
    else:
        check_prompt(request.prompt or "")
    rest = len(msgspec.json.encode(msgspec.structs.replace(request, prompt=None)))
    if rest > REST_LIMIT_BYTES:
        raise TooLarge(f"what is asked for beside the prompt has {rest} bytes, {REST_LIMIT_BYTES} are allowed")
    if request.name is not None:
        check_name(request.name)
    if request.timeout_s is not None and not 0 < request.timeout_s < _TIMEOUT_LIMIT_S:
        raise BadRequest(f"timeout {request.timeout_s:g}: must be more than 0 and less than {_TIMEOUT_LIMIT_S} seconds")
    if request.model is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:\[\]-]{0,99}", request.model):
        raise BadRequest(f"model {request.model!r} is not a model's name")
    if request.ask and profile.adapter == "command":
        raise BadRequest("--ask is for agents that use tools, not for a program")
    for path in request.data:
        if not PurePosixPath(path).is_absolute() or "\0" in path:
            raise BadRequest(f"data {path!r}: must be an absolute path")
    check_environment(request.env)


def check_limits(limits: SessionLimits | LimitsUpdate, ceilings: Ceilings) -> None:
    """Raises BadRequest, naming the limit, its value, and what would do."""
    for name, value in msgspec.structs.asdict(limits).items():
        if value is None or name == "on_limit" or (name == "stop_grace_s" and 0 <= value <= _GRACE_LIMIT_S):
            continue
        if not 0 < value < math.inf or name == "stop_grace_s":
            bound = f"from 0 to {_GRACE_LIMIT_S}" if name == "stop_grace_s" else "more than 0"
            raise BadRequest(f"limit {name}: must be {bound}, is {value:g}")
        most = getattr(ceilings, name, None)
        if most is not None and value > most:
            raise BadRequest(
                f"limit {name}: {value:g} is more than the {most:g} that this daemon allows (setting ceilings.{name})"
            )


def choose_policy(request: SessionCreate, default: str, policies: Mapping[str, Policy]) -> Policy:
    """Raises BadRequest for a policy that is not there."""
    name = request.policy or default
    if name not in policies:
        raise BadRequest(f"no policy {name!r}; there are: {', '.join(policies)} (eleagent config show)")
    return policies[name]


def make_adapter(
    profile: Profile, session: str, request: SessionCreate, *, model_door: bool, conversation: str = ""
) -> Adapter:
    """`conversation` is the session whose conversation it goes on with."""
    if profile.adapter == "claude":
        return ClaudeAdapter(
            session=session,
            conversation=conversation,
            model=request.model,
            ask=request.ask,
            env=request.env,
        )
    return CommandAdapter(argv=request.argv or (), env=request.env, model_door=model_door)


def title(request: SessionCreate) -> str:
    """One short line for lists."""
    text = request.prompt if request.prompt is not None else " ".join(request.argv or ())
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return line if len(line) <= _TITLE_CHARACTERS else line[: _TITLE_CHARACTERS - 1] + "…"


def check_model(gateway: Gateway, request: SessionCreate, policy: Policy) -> None:
    """Raises BadRequest where the policy gives an agent no model, and what the gateway raises."""
    if not policy.model:
        raise BadRequest(f"policy {policy.name!r} has no model door: agent {request.agent!r} can't work under it")
    gateway.check(Terms(session="", policy=policy, model_script=request.model_script))


def has_model(gateway: Gateway, request: SessionCreate, policy: Policy) -> bool:
    """A program gets a model door where there is a model."""
    try:
        return bool(gateway.check(Terms(session="", policy=policy, model_script=request.model_script)))
    except (CredentialMissing, BadRequest):
        return False
