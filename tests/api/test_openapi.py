"""Is the OpenAPI document valid, and is it what the daemon serves?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import jsonschema
import pytest
from msgspec.structs import replace

from eleagent.operations.operation import Answer, Body, Kind, Operation
from eleagent.operations.sessions import SESSION_STOP
from eleagent.operations.system import STATUS
from eleagent.operations.table import OPERATIONS
from eleagent.permissions import Permission
from eleagent.roles import DESCRIPTIONS
from eleagent_daemon.api.app import make_app
from eleagent_daemon.api.openapi import document
from eleagent_daemon.api.pipeline import Handler, Pipeline
from eleagent_daemon.api.system import SystemHandlers

from .conftest import Api, Scripted

# The parts of the OpenAPI 3.1 specification (section 4.8) that this document uses.
CONTENT = {"type": "object", "minProperties": 1, "additionalProperties": {"type": "object"}}
STRUCTURE: dict[str, Any] = {
    "type": "object",
    "required": ["openapi", "info", "paths"],
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {"type": "object", "required": ["title", "version"]},
        "paths": {
            "type": "object",
            "additionalProperties": False,
            "patternProperties": {"^/": {"$ref": "#/$defs/item"}},
        },
        "components": {
            "type": "object",
            "properties": {
                "schemas": {"type": "object", "propertyNames": {"pattern": r"^[a-zA-Z0-9._-]+$"}},
                "securitySchemes": {
                    "type": "object",
                    "additionalProperties": {"type": "object", "required": ["type", "scheme"]},
                },
            },
            "additionalProperties": False,
        },
        "security": {"type": "array", "items": {"$ref": "#/$defs/security"}},
    },
    "additionalProperties": False,
    "$defs": {
        "security": {"type": "object", "propertyNames": {"const": "token"}, "additionalProperties": {"const": []}},
        "item": {
            "type": "object",
            "propertyNames": {"enum": ["get", "put", "post", "delete", "patch"]},
            "additionalProperties": {"$ref": "#/$defs/operation"},
        },
        "operation": {
            "type": "object",
            "required": ["operationId", "responses", "x-permission", "x-audit"],
            "properties": {
                "parameters": {"type": "array", "items": {"$ref": "#/$defs/parameter"}},
                "security": {"type": "array", "items": {"$ref": "#/$defs/security"}},
                "requestBody": {"type": "object", "required": ["content"], "properties": {"content": CONTENT}},
                "responses": {
                    "type": "object",
                    "propertyNames": {"pattern": r"^([1-5]\d\d|default)$"},
                    "additionalProperties": {
                        "type": "object",
                        "required": ["description"],
                        "properties": {"content": CONTENT},
                    },
                },
            },
        },
        "parameter": {
            "type": "object",
            "required": ["name", "in", "schema"],
            "properties": {"in": {"enum": ["query", "path", "header"]}, "required": {"type": "boolean"}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"required": ["required"], "properties": {"required": {"const": True}}},
        },
    },
}


PIPELINE = Pipeline(ledger=cast(Any, None), doorkeeper=cast(Any, None), resolvers=dict.fromkeys(Kind, cast(Any, None)))


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_openapi_document_has_the_structure_of_3_1() -> None:
    jsonschema.validate(document(), STRUCTURE, cls=jsonschema.Draft202012Validator)
    for path, item in document()["paths"].items():
        for operation in item.values():
            named = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
            assert named == re.findall(r"{(\w+)}", path)


def test_openapi_schemas_are_json_schemas() -> None:
    for schema in document()["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_openapi_references_resolve() -> None:
    schemas = document()["components"]["schemas"]
    found = set(references(document()))
    assert len(found) > 20
    for reference in found:
        prefix, _, name = reference.rpartition("/")
        assert (prefix, name in schemas) == ("#/components/schemas", True), reference


def test_openapi_operations_are_the_routes_of_the_app() -> None:
    app = make_app(
        pipeline=PIPELINE,
        handlers=Scripted().table(),
    )
    served = {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource is not None}
    described = {(method.upper(), path) for path, item in document()["paths"].items() for method in item}
    table = {(operation.method, operation.path) for operation in OPERATIONS}
    assert described == table
    # The last route is what is none of the table.
    assert served == table | {("*", "/{path}")}


def test_openapi_says_what_each_operation_needs() -> None:
    described = {one["operationId"]: one for item in document()["paths"].values() for one in item.values()}
    assert set(described) == {operation.id for operation in OPERATIONS}
    for operation in OPERATIONS:
        one = described[operation.id]
        assert (one["x-permission"], one["x-audit"]) == (operation.permission, operation.audit)
        assert ("requestBody" in one) == (operation.body_kind is not Body.NONE)
        queries = [parameter["name"] for parameter in one["parameters"] if parameter["in"] == "query"]
        assert queries == list(operation.queries)
        assert one.get("security", document()["security"]) == ([] if operation.anyone else [{"token": []}])


async def test_openapi_document_is_what_the_real_handler_answers(api: Api) -> None:
    handlers = SystemHandlers.__new__(SystemHandlers)
    api.handlers.answers["openapi"] = handlers.openapi
    assert (await api.request("GET", "/v1/openapi.json")).json == document()


# The table itself


@pytest.mark.parametrize("change", ["one missing", "one too many"])
def test_app_is_made_only_with_a_handler_for_each_operation(change: str) -> None:
    handlers: dict[Operation, Handler] = dict(Scripted().table())
    if change == "one missing":
        del handlers[STATUS]
    else:
        handlers[replace(STATUS, id="other")] = handlers[STATUS]
    with pytest.raises(RuntimeError, match="status" if change == "one missing" else "other"):
        make_app(pipeline=PIPELINE, handlers=handlers)


def test_operations_are_unique() -> None:
    assert len({operation.id for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("permission", [None, "", "system:read"])
def test_operation_without_a_permission_cannot_be_built(permission: Any) -> None:
    with pytest.raises(TypeError, match="'status' has no permission"):
        replace(STATUS, permission=permission)


@pytest.mark.parametrize("audit", ["", "status", "system.", "System.Status", "system.status.read"])
def test_operation_without_an_audit_name_cannot_be_built(audit: str) -> None:
    with pytest.raises(ValueError, match="'status' has no audit name"):
        replace(STATUS, audit=audit)


@pytest.mark.parametrize(
    "change", [{"body": None}, {"body_kind": Body.NONE}, {"result": None}, {"result": None, "answer": Answer.NDJSON}]
)
def test_operation_with_half_a_description_cannot_be_built(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="'session_stop'"):
        replace(SESSION_STOP, **change)


def test_operation_url_escapes_its_parameters() -> None:
    assert SESSION_STOP.url(key="a/b c?") == "/v1/sessions/a%2Fb%20c%3F/stop"
    with pytest.raises(KeyError):
        SESSION_STOP.url()


def test_permissions_have_a_description_each() -> None:
    assert set(DESCRIPTIONS) == set(Permission)
