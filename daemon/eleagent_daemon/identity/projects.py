"""What is a project, who is in it, and may a session start there?"""

from __future__ import annotations

import grp
import re
from dataclasses import dataclass
from typing import Final

import msgspec

from eleagent.errors import BadRequest, Conflict, NotFound, Refused
from eleagent.wire.projects import Project, ProjectCreate, ProjectMembers, ProjectUpdate
from eleagent.wire.sessions import Session, SessionCreate
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.store.apikeys import Bounds
from eleagent_daemon.store.people import People
from eleagent_daemon.store.projects import ProjectRow, ProjectRows
from eleagent_daemon.store.registry import PROJECT
from eleagent_daemon.store.timeline import now

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DESCRIPTION_CHARACTERS: Final = 500


@dataclass(frozen=True)
class Start:
    """Who wants to start a session: as far as `sight` of projects reaches, with a key's `bounds`; `local` is on this
    host, and so may name paths of it. `credential` is the key's public id.
    """

    sight: Sight
    local: bool
    bounds: Bounds | None = None
    credential: str = ""


class Projects:
    def __init__(self, *, rows: ProjectRows, people: People) -> None:
        self._rows = rows
        self._people = people

    async def find(self, name: str, sight: Sight) -> Owned:
        """Raises NotFound."""
        row = self._rows.find(name)
        if row is None or not sight.reaches(_owned(row)):
            raise _not_found(name)
        return _owned(row)

    def get(self, name: str) -> Project:
        if (row := self._rows.find(name)) is None:
            raise _not_found(name)
        return describe(row)

    def list_projects(self, sight: Sight) -> list[Project]:
        return [describe(row) for row in self._rows.list_rows() if sight.reaches(_owned(row))]

    async def create(self, wanted: ProjectCreate, owner: str) -> Project:
        """Raises BadRequest and Conflict."""
        if not _NAME.fullmatch(wanted.name):
            raise BadRequest(
                f"project name {wanted.name!r}: use small letters, digits, '.', '_' and '-', at most 63, beginning with"
                " a letter or digit"
            )
        _check(wanted.description, wanted.sessions)
        row = ProjectRow(
            name=wanted.name, owner=owner, created=now(), description=wanted.description, agents=wanted.agents,
            sessions=wanted.sessions or None, users=[owner],
        )  # fmt: skip
        await self._rows.create(row)
        return describe(row)

    async def update(self, name: str, wanted: ProjectUpdate) -> Project:
        _check(wanted.description or "", wanted.sessions)
        changes = {key: value for key, value in msgspec.structs.asdict(wanted).items() if value is not None}
        if "sessions" in changes:
            changes["sessions"] = changes["sessions"] or None
        return describe(await self._rows.update(name, lambda row: msgspec.structs.replace(row, **changes)))

    async def change_members(self, name: str, wanted: ProjectMembers) -> Project:
        """Raises BadRequest for a user or a group that is not there."""
        for user in wanted.add_users:
            if self._people.find(user) is None:
                raise BadRequest(f"there is no user {user!r}: eleagent user ls lists them")
        added = {group: _gid(group) for group in wanted.add_groups}

        def become(row: ProjectRow) -> ProjectRow:
            users = [one for one in dict.fromkeys([*row.users, *wanted.add_users]) if one not in wanted.remove_users]
            groups = {group: gid for group, gid in (row.groups | added).items() if group not in wanted.remove_groups}
            return msgspec.structs.replace(row, users=users, groups=groups)

        return describe(await self._rows.update(name, become))

    def check_start(self, wanted: SessionCreate, start: Start) -> str:
        """The project that a session starts in. Raises NotFound, Refused, Conflict, naming what binds it."""
        if wanted.data and not start.local:
            raise Refused("data names paths of the server: only a caller on its own socket (or --host ssh://) may")
        bounds, name = start.bounds, wanted.project or PROJECT
        if start.sight.within is not None and wanted.project is None and len(start.sight.within) == 1:
            (name,) = start.sight.within
        if start.sight.within is not None and name not in start.sight.within:
            raise _not_found(name)
        if bounds is not None and bounds.agents and wanted.agent not in bounds.agents:
            raise Refused(f"this API key may start {', '.join(sorted(bounds.agents))}, not {wanted.agent}")
        if name != PROJECT:
            self._check_project(name, wanted.agent, start.sight)
        return name

    def check_room(self, project: str, start: Start, live: list[Session]) -> None:
        """Whether one more may start beside those alive. Raises Conflict, naming the ceiling."""
        bounds, row = start.bounds, self._rows.find(project)
        if bounds is not None and bounds.sessions is not None:
            mine = sum(one.credential == start.credential for one in live)
            if mine >= bounds.sessions:
                raise Conflict(f"this API key has {mine} sessions alive and may have {bounds.sessions}")
        there = sum(one.project == project for one in live)
        if row is not None and row.sessions is not None and there >= row.sessions:
            raise Conflict(f"project {project} has {there} sessions alive and may have {row.sessions}: stop one first")

    def _check_project(self, name: str, agent: str, sight: Sight) -> None:
        row = self._rows.find(name)
        if row is None or not sight.reaches(_owned(row)):
            raise _not_found(name)
        if row.archived:
            raise Conflict(f"project {name} is archived: eleagent project edit {name} --restore")
        if row.agents and agent not in row.agents:
            raise Refused(f"in project {name} work {', '.join(row.agents)}, not {agent}")


def describe(row: ProjectRow) -> Project:
    return Project(**(msgspec.structs.asdict(row) | {"groups": sorted(row.groups)}))


def _owned(row: ProjectRow) -> Owned:
    return Owned(id=row.name, owner=row.owner, project=row.name)


def _not_found(name: str) -> NotFound:
    return NotFound(f"no project {name!r}: eleagent project ls lists them")


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise BadRequest(f"there is no group {group!r} on this machine") from None


def _check(description: str, sessions: int | None) -> None:
    if len(description) > _DESCRIPTION_CHARACTERS or not description.isprintable():
        raise BadRequest(f"a description has at most {_DESCRIPTION_CHARACTERS} printable characters")
    if sessions is not None and sessions < 0:
        raise BadRequest(f"sessions: {sessions} is less than none")
