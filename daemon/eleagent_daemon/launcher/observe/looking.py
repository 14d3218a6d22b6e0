"""When are a sandbox's files looked at, and how does what changed get into its spool exactly once?"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from eleagent.errors import EleAgentError
from eleagent_daemon.kernel.child import Children, without_descriptors
from eleagent_daemon.launcher.observe.files import Looked, frames, look
from eleagent_daemon.launcher.observe.passing import Passing
from eleagent_daemon.launcher.observe.seen import Seen, now

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0
FINAL_S: Final = 240.0
_GRACE_S: Final = 30.0
"""For what follows on the reading, in the child."""


class Files:
    """One sandbox's looks, one at a time. What is known of its files outlives sandbox and launcher beside its disk.

    A launcher that dies while it spools a look leaves it uncounted: the next one tells of those changes again.
    """

    def __init__(self, *, manifest: Path, seen: Seen, children: Children) -> None:
        self._manifest = manifest
        self._seen = seen
        self._children = children
        self._looking = asyncio.Lock()
        self._passing = Passing()
        self._since = now()

    def begin(self, roots: Mapping[str, str]) -> bool:
        """Whether files that come and go are seen from here on."""
        self._passing.begin(roots)
        return self._passing.watching

    def close(self) -> None:
        """Look no more. Idempotent."""
        self._passing.close()

    async def look(self, roots: Mapping[str, str], *, final: bool = False) -> None:
        """Returns when what changed is in the spool; a look that fails is a gap."""
        async with self._looking:
            begin, self._since = self._since, now()
            new, changes = self._manifest.with_suffix(".new"), self._manifest.with_suffix(".changes")
            limit_s = FINAL_S if final else LOOK_S
            went = self._passing.take()
            if went.overflowed:
                self._seen.gap(begin, "some of the files that came and went: there were too many")
            job = partial(
                look,
                dict(roots),
                manifest=self._manifest,
                new=new,
                changes=changes,
                went=went,
                final=final,
                timeout_s=limit_s,
            )
            try:
                await self._children.run(partial(without_descriptors, job), Looked, timeout_s=limit_s + _GRACE_S)
                for frame in frames(changes):
                    await self._seen.keep(frame)
                new.rename(self._manifest)
            except (EleAgentError, OSError) as error:
                log.exception("the files could not be looked at")
                self._since = begin
                why = error.message if isinstance(error, EleAgentError) else str(error.strerror)
                self._seen.gap(begin, f"the files: {why}")
            finally:
                for left in (new, changes):
                    with contextlib.suppress(OSError):
                        left.unlink(missing_ok=True)
