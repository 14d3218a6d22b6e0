"""What did the person type: a prompt, a duration, a variable, a path?"""

from __future__ import annotations

import math
import os
import re
import sys

from eleagent.errors import BadRequest, TooLarge
from eleagent.wire.sessions import PROMPT_LIMIT_BYTES

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def read_prompt(text: str) -> str:
    """`text`, or stdin for `-`. Raises BadRequest for nothing or no UTF-8, TooLarge past PROMPT_LIMIT_BYTES."""
    return check_prompt(sys.stdin.buffer.read(PROMPT_LIMIT_BYTES + 1) if text == "-" else text)


def check_prompt(text: str | bytes) -> str:
    """The prompt, if it is one. Raises as `read_prompt` does."""
    raw = os.fsencode(text) if isinstance(text, str) else text
    if len(raw) > PROMPT_LIMIT_BYTES:
        raise TooLarge(
            f"the prompt is larger than {PROMPT_LIMIT_BYTES} bytes: put it into a file and give that with --data",
            limit_bytes=PROMPT_LIMIT_BYTES,
        )
    try:
        prompt = raw.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"the prompt is not UTF-8 (byte {error.start})") from None
    if not prompt.strip():
        raise BadRequest("the prompt is empty")
    return prompt


def read_duration(flag: str, text: str | None) -> float | None:
    """Seconds in `90`, `30s`, `10m`, `2h`, `1d`; `flag` is who asks."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < seconds < math.inf:
        raise BadRequest(f"{flag} {text!r} is no time: write 90, 30s, 10m or 2h")
    return seconds


def read_variables(pairs: tuple[str, ...]) -> dict[str, str]:
    """`K=V` pairs."""
    for pair in pairs:
        if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", pair):
            raise BadRequest(f"-e {pair!r} is not of the form NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def read_source(path: str, *, here: bool = True) -> str:
    """An absolute path in which links stay as they are: the daemon opens it, with the caller's rights. One of another
    machine (not `here`) is for its daemon to judge.
    """
    if not path:
        raise BadRequest("--data '' names no path")
    if not here:
        if not path.startswith("/"):
            raise BadRequest(f"--data {path}: data lies where the daemon runs: give its absolute path there", path=path)
        return os.path.normpath(path)
    absolute = os.path.abspath(path)  # noqa: PTH100  # Path.resolve would follow links, Path.absolute keeps ..
    if not os.path.lexists(absolute):
        raise BadRequest(f"--data {path}: there is no {absolute}", path=absolute)
    return absolute


def read_script(path: str | None) -> str | None:
    """The text of a model script."""
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123  # every run comes by here
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"--model-script {path}: {getattr(error, 'strerror', None) or 'not UTF-8'}") from None
