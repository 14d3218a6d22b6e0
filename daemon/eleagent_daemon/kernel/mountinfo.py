"""What does a line of /proc/PID/mountinfo say? (proc_pid_mountinfo(5))"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_ESCAPE = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class MountLine:
    """`device` is what stat tells of what is in it. `root` is the part of the file system that is mounted; `shared`:
    mounts made below it spread elsewhere.
    """

    device: int
    root: str
    target: str
    fstype: str
    source: str
    options: tuple[str, ...]
    super_options: tuple[str, ...]
    shared: bool


def read(process: Path) -> list[MountLine]:
    """Of /proc/PID. A path in it is anybody's bytes, and of those that break a line the kernel escapes \\n alone."""
    return parse((process / "mountinfo").read_bytes().decode(errors="surrogateescape"))


def parse(text: str) -> list[MountLine]:
    """In the kernel's order: of two mounts on one target the later covers the earlier."""
    return [_line(line) for line in text.split("\n") if line]


def _line(line: str) -> MountLine:
    fields = line.split(" ")
    separator = fields.index("-", 6)
    major, _, minor = fields[2].partition(":")
    fstype, source, super_options = fields[separator + 1 : separator + 4]
    return MountLine(
        device=os.makedev(int(major), int(minor)),
        root=_unescape(fields[3]),
        target=_unescape(fields[4]),
        fstype=fstype,
        source=_unescape(source),
        options=tuple(fields[5].split(",")),
        super_options=tuple(super_options.split(",")),
        shared=any(field.startswith("shared:") for field in fields[6:separator]),
    )


def _unescape(text: str) -> str:
    """Space, tab, newline and backslash stand there as octal numbers."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 8)), text)
