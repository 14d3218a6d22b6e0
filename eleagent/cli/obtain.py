"""Where does an agent's binary come from, and is it the one that the release names?

In this order: the file given, an installed package that carries it, the official npm package, the official Python one.
The packages' own tools fetch them, so a site's mirrors and proxies hold. Only the digest decides.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

from eleagent import textsafe
from eleagent.errors import BadRequest, EleAgentError, Unavailable
from eleagent.wire.agents import AgentLock

NPM_MEMBER: Final = "package/claude"
WHEEL_MEMBER: Final = "claude_agent_sdk/_bundled/claude"
FETCH_TIMEOUT_S: Final = 900


def obtain(lock: AgentLock, *, source: Path | None, scratch: Path, say: Callable[[str], None]) -> Path:
    """A file whose sha256 is the lock's, the caller's own or below `scratch`.

    Raises BadRequest when `source` is not that file, Unavailable when no package could be had.
    """
    if source is not None:
        return _given(lock, source)
    if (bundled := _bundled()) and digest_of(bundled) == lock.sha256:
        say(f"taking {bundled}")
        return bundled
    failures = []
    for name, fetch in (("npm", _from_npm), ("pip", _from_pypi)):
        say(f"fetching {lock.npm if name == 'npm' else lock.pypi} with {name}")
        try:
            found = fetch(lock, scratch)
        except Unavailable as error:
            failures.append(f"{name}: {error.message}")
            continue
        if (digest := digest_of(found)) == lock.sha256:
            return found
        failures.append(f"{name}: the package holds a binary with sha256 {digest}, not the one that this release names")
    raise Unavailable(
        f"{lock.agent} {lock.version} could not be had ({'; '.join(failures)}). "
        f"Without a network: eleagent agent install {lock.agent} --from FILE"
    )


def digest_of(path: Path) -> str:
    """The hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _given(lock: AgentLock, source: Path) -> Path:
    try:
        digest = digest_of(source)
    except OSError as error:
        raise BadRequest(f"--from {source}: {error.strerror}") from error
    if digest != lock.sha256:
        raise BadRequest(
            f"--from {source}: sha256 {digest} is not {lock.agent} {lock.version} for {lock.platform} ({lock.sha256})"
        )
    return source


def _bundled() -> Path | None:
    package = importlib.util.find_spec("claude_agent_sdk")
    if package is None or package.origin is None:
        return None
    found = Path(package.origin).parent / "_bundled" / "claude"
    return found if found.is_file() else None


def _from_npm(lock: AgentLock, scratch: Path) -> Path:
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("not installed")
    folder = scratch / "npm"
    _call([npm, "pack", "--silent", lock.npm], folder)
    archive = _only(folder, "*.tgz")
    with tarfile.open(archive) as tar:
        member = next((entry for entry in tar if entry.name == NPM_MEMBER and entry.isfile()), None)
        stream = tar.extractfile(member) if member else None
        if stream is None:
            raise Unavailable(f"{archive.name} holds no {NPM_MEMBER}")
        return _unpack(stream, folder)


def _from_pypi(lock: AgentLock, scratch: Path) -> Path:
    folder = scratch / "pip"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    _call([*pip, "--only-binary", ":all:", "--dest", ".", lock.pypi], folder)
    archive = _only(folder, "*.whl")
    with zipfile.ZipFile(archive) as wheel:
        if WHEEL_MEMBER not in wheel.namelist():
            raise Unavailable(f"{archive.name} holds no {WHEEL_MEMBER}")
        with wheel.open(WHEEL_MEMBER) as stream:
            return _unpack(stream, folder)


def _call(command: list[str], folder: Path) -> None:
    folder.mkdir()
    try:
        subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=FETCH_TIMEOUT_S, check=True
        )
    except subprocess.CalledProcessError as error:
        said = [text for text in textsafe.safe(error.stderr or error.stdout).splitlines() if text.strip()]
        raise Unavailable(said[-1].strip() if said else f"exit code {error.returncode}") from error
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"no answer in {FETCH_TIMEOUT_S} s (no network?)") from error


def _only(folder: Path, pattern: str) -> Path:
    found = list(folder.glob(pattern))
    if len(found) != 1:
        raise EleAgentError(f"{pattern}: {len(found)} archives where one was fetched")
    return found[0]


def _unpack(stream: IO[bytes], folder: Path) -> Path:
    target = folder / "binary"
    with target.open("wb") as file:
        shutil.copyfileobj(stream, file)
    return target
