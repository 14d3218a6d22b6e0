"""What does each operation on projects do?"""

from __future__ import annotations

from eleagent.operations.projects import (
    PROJECT_CREATE,
    PROJECT_GET,
    PROJECT_LIST,
    PROJECT_MEMBERS,
    PROJECT_UPDATE,
)
from eleagent.wire.projects import Project, ProjectList
from eleagent_daemon.api.pipeline import Call, Handlers
from eleagent_daemon.identity.projects import Projects


class ProjectHandlers:
    def __init__(self, *, projects: Projects) -> None:
        self._projects = projects

    def table(self) -> Handlers:
        return {
            PROJECT_LIST: self.list_projects,
            PROJECT_GET: self.get,
            PROJECT_CREATE: self.create,
            PROJECT_UPDATE: self.update,
            PROJECT_MEMBERS: self.change_members,
        }

    async def list_projects(self, call: Call) -> ProjectList:
        return ProjectList(projects=self._projects.list_projects(call.caller.sight(call.operation.permission)))

    async def get(self, call: Call) -> Project:
        return self._projects.get(call.path["project"])

    async def create(self, call: Call) -> Project:
        return await self._projects.create(call.body, call.caller.name)

    async def update(self, call: Call) -> Project:
        return await self._projects.update(call.path["project"], call.body)

    async def change_members(self, call: Call) -> Project:
        return await self._projects.change_members(call.path["project"], call.body)
