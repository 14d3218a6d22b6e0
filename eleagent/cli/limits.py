"""How are limits typed, and how are they shown?"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from eleagent.cli.prompt import read_duration
from eleagent.errors import BadRequest
from eleagent.wire.limits import LimitsUpdate, OnLimit, SessionLimits
from eleagent.wire.sessions import Session

F = TypeVar("F", bound=Callable[..., Any])

_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def spending_options(command: F) -> F:
    """What a session may use before EleAgent steps in; these can be changed while it lives."""
    for option in (
        click.option("--max-egress", metavar="SIZE", help="The most that may leave the sandbox: 100m, 2g."),
        click.option("--max-turns", type=click.IntRange(1), metavar="N", help="The most requests to the model."),
        click.option("--max-tokens", type=click.IntRange(1), metavar="N", help="The most tokens, cached ones too."),
        click.option(
            "--max-cost", type=click.FloatRange(0, min_open=True), metavar="USD", help="The most it may cost."
        ),
        click.option("--idle-timeout", metavar="TIME", help="How long it may make no progress."),
        click.option("--timeout", metavar="TIME", help="90, 30s, 10m, 2h; counted from the start of the work."),
    ):
        command = option(command)
    return command


def sandbox_options(command: F) -> F:
    """What is set once, when the session starts."""
    for option in (
        click.option(
            "--on-limit",
            type=click.Choice([one.value for one in OnLimit]),
            help="Stop there, or pause and ask a person.",
        ),
        click.option("--grace", type=click.FloatRange(0), metavar="SECONDS", help="Between SIGTERM and SIGKILL."),
        click.option("--disk", metavar="SIZE", help="Workspace, artefacts and HOME together: 4g."),
        click.option("--pids", type=click.IntRange(1), metavar="N", help="The most processes."),
        click.option("--cpus", type=click.FloatRange(0, min_open=True), metavar="N", help="Processors, 1.5."),
        click.option("--memory", metavar="SIZE", help="512m, 2g."),
    ):
        command = option(command)
    return command


def read_limits(given: dict[str, Any]) -> SessionLimits:
    """From the flags of both groups."""
    return SessionLimits(
        idle_timeout_s=read_duration("--idle-timeout", given["idle_timeout"]),
        max_cost_usd=given["max_cost"],
        max_tokens=given["max_tokens"],
        max_turns=given["max_turns"],
        max_egress_bytes=read_size("--max-egress", given["max_egress"]),
        memory_bytes=read_size("--memory", given["memory"]),
        cpus=given["cpus"],
        pids=given["pids"],
        disk_bytes=read_size("--disk", given["disk"]),
        stop_grace_s=given["grace"],
        on_limit=OnLimit(given["on_limit"]) if given["on_limit"] else None,
    )


def read_update(given: dict[str, Any]) -> LimitsUpdate:
    """Raises UsageError when no limit is named."""
    update = LimitsUpdate(
        timeout_s=read_duration("--timeout", given["timeout"]),
        idle_timeout_s=read_duration("--idle-timeout", given["idle_timeout"]),
        max_cost_usd=given["max_cost"],
        max_tokens=given["max_tokens"],
        max_turns=given["max_turns"],
        max_egress_bytes=read_size("--max-egress", given["max_egress"]),
    )
    if update == LimitsUpdate():
        raise click.UsageError("say which limit: --max-cost 10, --timeout 4h …")
    return update


def read_size(flag: str, text: str | None) -> int | None:
    """Bytes in `4096`, `512m`, `2g`, `1.5GiB`; `flag` is who asks."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.lower())
    size = int(float(match[1]) * _SIZES[match[2]]) if match else 0
    if size <= 0:
        raise BadRequest(f"{flag} {text!r} is no size: write 512m or 2g")
    return size


def told(session: Session) -> str:
    """What holds for a session, in one line."""
    limits = session.limits
    parts = [
        span(session.timeout_s) if session.timeout_s else "",
        f"{span(limits.idle_timeout_s)} without progress" if limits.idle_timeout_s else "",
        f"{limits.max_cost_usd:g} USD" if limits.max_cost_usd else "",
        f"{limits.max_tokens:,} tokens" if limits.max_tokens else "",
        f"{limits.max_turns} turns" if limits.max_turns else "",
        f"{limits.max_egress_bytes / (1 << 20):g} MiB out" if limits.max_egress_bytes else "",
        f"{session.user_day_usd:g} USD a day for {session.owner}" if session.user_day_usd else "",
    ]
    return " · ".join(filter(None, parts))


def span(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
