"""What does the TUI do with the terminal beside painting: copy, open a pager or an editor, call a person?"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from eleagent import textsafe
from eleagent.errors import BadRequest

if TYPE_CHECKING:
    from textual.app import App

COPY_LIMIT: Final = 74_994
"""Characters that OSC 52 carries through every terminal that has it (100,000 bytes of base64)."""

TMUX_S: Final = 2.0


def is_remote(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether what is painted goes over SSH."""
    return bool(environ.get("SSH_CONNECTION") or environ.get("SSH_TTY"))


def copy(app: App[object], text: str) -> str:
    """To the terminal's clipboard (OSC 52), and to tmux where we are in one. Returns a sentence about it.

    Blocks for tmux, TMUX_S at most.
    """
    if len(text) > COPY_LIMIT:
        raise BadRequest(f"{len(text):,} characters are more than a terminal takes ({COPY_LIMIT:,}): open it with v")
    app.copy_to_clipboard(text)
    if os.environ.get("TMUX") and (tmux := shutil.which("tmux")):
        try:
            subprocess.run(
                [tmux, "load-buffer", "-w", "-"], input=text.encode(), timeout=TMUX_S, check=True, capture_output=True
            )
        except (OSError, subprocess.SubprocessError):
            return f"copied {len(text):,} characters by OSC 52; tmux did not take them"
    return f"copied {len(text):,} characters"


def page(app: App[object], text: str) -> None:
    """Read it in $PAGER (less where there is none), the terminal being the pager's meanwhile.

    The text is safe to show: a pager may hand control characters on.
    """
    words = shlex.split(os.environ.get("PAGER") or "less")
    with _file(textsafe.safe(text)) as path, app.suspend():
        _run([*words, path])


def edit(app: App[object], text: str) -> str:
    """Change it in $VISUAL or $EDITOR (vi where there is none); returns what was saved.

    Raises BadRequest when the editor fails or saves no UTF-8.
    """
    words = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with _file(text) as path:
        with app.suspend():
            _run([*words, path])
        try:
            return Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BadRequest(f"what {words[0]} saved can't be read: {error}") from None


@contextmanager
def _file(text: str) -> Iterator[str]:
    """A file of this user alone for as long as a program needs it."""
    with tempfile.TemporaryDirectory(prefix="eleagent-") as folder:
        path = Path(folder) / "text.md"
        path.write_text(text, encoding="utf-8")
        yield str(path)


def command(app: App[object], host: str, *words: str) -> None:
    """One of our own commands on the whole terminal; Enter comes back."""
    with app.suspend():
        subprocess.run(_ours(host, words), check=False)
        with suppress(EOFError, KeyboardInterrupt):
            input("Enter goes back. ")


def page_command(app: App[object], host: str, *words: str) -> None:
    """What one of our own commands prints, in $PAGER."""
    pager = shlex.split(os.environ.get("PAGER") or "less")
    with app.suspend(), subprocess.Popen(_ours(host, words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as made:
        try:
            subprocess.run(pager, stdin=made.stdout, check=False)
        except OSError as error:
            raise BadRequest(f"{pager[0]} can't be run ({error.strerror}): set $PAGER") from None
        finally:
            made.kill()


def save_command(host: str, dest: Path, *words: str) -> None:
    """Blocking. What one of our own commands prints, into a new file."""
    try:
        with dest.open("xb") as file:
            done = subprocess.run(_ours(host, words), stdout=file, stderr=subprocess.PIPE, check=False)
    except OSError as error:
        raise BadRequest(f"{dest} can't be written: {error.strerror}") from None
    if done.returncode:
        raise BadRequest(done.stderr.decode("utf-8", "replace").strip() or f"it ended with {done.returncode}")


def _ours(host: str, words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "eleagent.cli.main", "--host", host, *words]


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, check=False)
    except OSError as error:
        raise BadRequest(f"{command[0]} can't be run ({error.strerror}): set $PAGER and $EDITOR") from None
    if done.returncode:
        raise BadRequest(f"{command[0]} ended with {done.returncode}")


def notification(text: str) -> str:
    """OSC 9; tmux passes it on in an envelope of its own."""
    return _osc(f"9;{textsafe.line(text)[:200]}")


def title(text: str) -> str:
    """OSC 2, the window's title; tmux takes it as the pane's."""
    return f"\x1b]2;{textsafe.line(text)[:200]}\x1b\\"


def _osc(body: str) -> str:
    sequence = f"\x1b]{body}\x1b\\"
    if os.environ.get("TMUX"):
        doubled = sequence.replace("\x1b", "\x1b\x1b")
        return f"\x1bPtmux;{doubled}\x1b\\"
    return sequence
