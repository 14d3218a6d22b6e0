"""How does the table of operations become a web application?"""

from __future__ import annotations

from aiohttp import web

from eleagent.operations import OPERATIONS
from eleagent_daemon.api.handlers import Handlers
from eleagent_daemon.api.pipeline import Pipeline

_BODY_BYTES = 1 << 20


def make_app(*, pipeline: Pipeline, handlers: Handlers) -> web.Application:
    """A route for every operation of the table, each through the pipeline. An operation without a handler stops the
    start.
    """
    app = web.Application(client_max_size=_BODY_BYTES)
    app.router.add_routes([pipeline.route(operation, getattr(handlers, operation.id)) for operation in OPERATIONS])
    app.router.add_routes([pipeline.no_operation()])
    return app
