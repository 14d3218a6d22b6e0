"""What does the operations table look like as an OpenAPI document?"""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec

from eleagent.errors import PROBLEM_TYPE
from eleagent.operations.operation import Answer, Body, Operation
from eleagent.operations.table import OPERATIONS
from eleagent.version import VERSION_HEADER, __version__

_QUERY_TYPES = {int: {"type": "integer", "minimum": 0}, str: {"type": "string"}, bool: {"type": "boolean"}}
_ANSWER_TYPES = {
    Answer.JSON: "application/json",
    Answer.NDJSON: "application/x-ndjson",
    Answer.BYTES: "application/octet-stream",
}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "fields": {"type": "object"},
        "instance": {"type": "string"},
    },
}

_TOKEN = {
    "type": "http",
    "scheme": "bearer",
    "description": "An access token or an API key. On the Unix socket none is needed: the kernel says who calls.",
}

_CLIENT = {
    "name": VERSION_HEADER,
    "in": "header",
    "required": True,
    "description": "The client's version: this one, or at most one minor version apart (else 426).",
    "schema": {"type": "string", "enum": [__version__]},
}


@cache
def document() -> dict[str, Any]:
    """OpenAPI 3.1, from the table alone."""
    types = [
        kind for operation in OPERATIONS for kind in (operation.body, operation.result) if kind not in (None, dict)
    ]
    unique = list(dict.fromkeys(types))
    references, components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(unique, references, strict=True))
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "EleAgent", "version": __version__},
        "paths": paths,
        "security": [{"token": []}],
        "components": {"schemas": components | {"Problem": _PROBLEM}, "securitySchemes": {"token": _TOKEN}},
    }


def _describe(operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "x-permission": operation.permission,
        "x-audit": operation.audit,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in operation.parameters
        ]
        + [_CLIENT]
        + [{"name": name, "in": "query", "schema": _QUERY_TYPES[kind]} for name, kind in operation.queries.items()],
        "responses": {
            str(operation.status): {"description": "done", "content": _content(operation, schemas)},
            "default": {
                "description": "a problem (RFC 9457)",
                "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if operation.anyone:
        described["security"] = []
    if operation.body_kind is Body.JSON:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schemas[operation.body]}},
        }
    elif operation.body_kind is Body.BYTES:
        described["requestBody"] = {"required": True, "content": {"application/octet-stream": {}}}
    return described


def _content(operation: Operation, schemas: dict[Any, Any]) -> dict[str, Any]:
    schema = {"type": "object"} if operation.result is dict else schemas.get(operation.result)
    return {_ANSWER_TYPES[operation.answer]: {"schema": schema} if schema else {}}
