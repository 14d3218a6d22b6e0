"""Which units of work does a list have, and which of them are done?

A list is JSONL, one unit a line: the fields of SessionCreate (`prompt` or `argv`, `agent`, `data`, `limits` …) and an
`id`, by default made from the line. Beside FILE, FILE.progress keeps what became of each unit, a line at a time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import msgspec

from eleagent.cli.prompt import read_source
from eleagent.errors import BadRequest, Conflict
from eleagent.wire.sessions import PROMPT_BODY_BYTES, SessionCreate

UNITS_LIMIT: Final = 10_000
LINE_LIMIT_BYTES: Final = PROMPT_BODY_BYTES

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Unit:
    """`digest` is of all that is asked: a unit that was changed is another piece of work."""

    id: str
    body: SessionCreate
    digest: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A line of FILE.progress: a unit's session was made, or has ended when there is a `state`."""

    id: str
    digest: str
    session: str
    attempt: int
    state: str = ""
    exit_code: int | None = None

    @property
    def done(self) -> bool:
        return self.exit_code == 0


def read_tasks(path: Path, defaults: SessionCreate, *, here: bool = True) -> list[Unit]:
    """The units in order; `defaults` are the command line's flags. Raises BadRequest naming the line and what is wrong.

    Paths of `data` are relative to where the command runs, as --data is, where the daemon is `here` too.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadRequest(f"--tasks {path}: {error.strerror}") from None
    units = [_unit(path, number, line, defaults, here=here) for number, line in enumerate(lines, 1) if line.strip()]
    if not units:
        raise BadRequest(f"--tasks {path}: there is no unit of work in it; write one JSON object a line")
    if len(units) > UNITS_LIMIT:
        raise BadRequest(f"--tasks {path}: {len(units):,} units are more than {UNITS_LIMIT:,}: split the file")
    seen: dict[str, int] = {}
    for number, unit in enumerate(units, 1):
        if (before := seen.setdefault(unit.id, number)) != number:
            raise BadRequest(f"--tasks {path}: units {before} and {number} are both {unit.id!r}: give each its own id")
    return units


def _unit(path: Path, number: int, line: bytes, defaults: SessionCreate, *, here: bool) -> Unit:
    where = f"--tasks {path}: line {number}"
    if len(line) > LINE_LIMIT_BYTES:
        raise BadRequest(f"{where}: it is longer than {LINE_LIMIT_BYTES} bytes: put the text into a file of `data`")
    try:
        given = msgspec.json.decode(line, type=dict[str, Any])
        name = given.pop("id", None)
        body = msgspec.convert(_over(msgspec.to_builtins(defaults), given), SessionCreate)
    except msgspec.DecodeError as error:
        raise BadRequest(f"{where}: {error}") from None
    body = msgspec.structs.replace(body, data=[read_source(source, here=here) for source in body.data])
    if (body.prompt is None) == (body.argv is None):
        raise BadRequest(f"{where}: write either a prompt or argv, the words of a program")
    if body.argv is not None and "agent" not in given and defaults.agent == "claude":
        body = msgspec.structs.replace(body, agent="command")
    digest = hashlib.sha256(msgspec.json.encode(body)).hexdigest()
    if name is not None and (not isinstance(name, str) or not _ID.fullmatch(name)):
        raise BadRequest(f"{where}: id {name!r}: use letters, digits, '.', '_' and '-', at most 100")
    return Unit(id=name or digest[:12], body=body, digest=digest)


def _over(defaults: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the line says goes before the flags; limits and variables one by one."""
    merged = defaults | dict(given)
    for name in ("limits", "env"):
        if isinstance(given.get(name), dict):
            merged[name] = defaults[name] | given[name]
    return merged


class Progress:
    """FILE.progress, held by one run at a time. A line is on disk before what it tells of is relied on."""

    def __init__(self, *, file: BinaryIO, steps: dict[str, Step]) -> None:
        self._file = file
        self.steps = steps

    @classmethod
    def open(cls, path: Path) -> Self:
        """Raises Conflict while another run works on the list, BadRequest for a file that is none of ours."""
        try:
            file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+b")
        except OSError as error:
            raise BadRequest(f"the progress of the list can't be kept in {path}: {error.strerror}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            steps = _last_steps(path, file)
        except BlockingIOError:
            file.close()
            raise Conflict(f"another run works on this list: {path} is locked") from None
        except BaseException:
            file.close()
            raise
        return cls(file=file, steps=steps)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def find(self, unit: Unit) -> Step | None:
        """What became of exactly this work."""
        step = self.steps.get(unit.id)
        return step if step is not None and step.digest == unit.digest else None

    def keep(self, step: Step) -> None:
        self._file.write(msgspec.json.encode(step) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.steps[step.id] = step


def _last_steps(path: Path, file: BinaryIO) -> dict[str, Step]:
    """A torn last line, of a run that died over it, is cut off."""
    content = file.read()
    whole = content[: content.rfind(b"\n") + 1]
    file.seek(len(whole))
    file.truncate()
    try:
        return {step.id: step for step in msgspec.json.Decoder(Step).decode_lines(whole)}
    except msgspec.DecodeError as error:
        raise BadRequest(f"{path} is no progress of a list ({error}): move it away to begin anew") from None
