"""Which operations are there on projects?"""

from __future__ import annotations

from typing import Final

from eleagent.operations.operation import Body, Effect, Operation
from eleagent.permissions import Permission
from eleagent.wire import projects

PROJECT_LIST: Final = Operation(
    id="project_list", method="GET", path="/v1/projects", permission=Permission.PROJECT_READ, audit="project.list",
    effect=Effect.READ, summary="The projects that the caller may see", result=projects.ProjectList,
)  # fmt: skip
PROJECT_GET: Final = Operation(
    id="project_get", method="GET", path="/v1/projects/{project}", permission=Permission.PROJECT_READ,
    audit="project.show", effect=Effect.READ, summary="One project by name", result=projects.Project,
)  # fmt: skip
PROJECT_CREATE: Final = Operation(
    id="project_make", method="POST", path="/v1/projects", permission=Permission.PROJECT_CREATE, audit="project.create",
    effect=Effect.ACT, summary="Make a project", body=projects.ProjectCreate, body_kind=Body.JSON,
    result=projects.Project, status=201, recorded=("name", "agents", "sessions"),
)  # fmt: skip
PROJECT_UPDATE: Final = Operation(
    id="project_update", method="PATCH", path="/v1/projects/{project}", permission=Permission.PROJECT_UPDATE,
    audit="project.update", effect=Effect.ACT, summary="Change or archive a project", body=projects.ProjectUpdate,
    body_kind=Body.JSON, result=projects.Project, recorded=("agents", "sessions", "archived"),
)  # fmt: skip
PROJECT_MEMBERS: Final = Operation(
    id="project_members", method="POST", path="/v1/projects/{project}/members", permission=Permission.PROJECT_UPDATE,
    audit="project.members", effect=Effect.ACT, summary="Let users and groups into a project and out",
    body=projects.ProjectMembers, body_kind=Body.JSON, result=projects.Project,
    recorded=("add_users", "add_groups", "remove_users", "remove_groups"),
)  # fmt: skip
