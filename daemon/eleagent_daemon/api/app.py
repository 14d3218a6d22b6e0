"""How does the table of operations become a web application?"""

from __future__ import annotations

from aiohttp import web

from eleagent.operations.table import OPERATIONS
from eleagent_daemon.api.pipeline import Handlers, Pipeline


def make_app(*, pipeline: Pipeline, handlers: Handlers) -> web.Application:
    """A route for every operation of the table, each through the pipeline. An operation without a handler stops the
    start.
    """
    if strangers := {operation.id for operation in handlers.keys() ^ set(OPERATIONS)}:
        raise RuntimeError(f"operations without a handler, or handlers without an operation: {sorted(strangers)}")
    app = web.Application()
    app.on_response_prepare.append(pipeline.stamp)
    app.router.add_routes([pipeline.route(operation, handlers[operation]) for operation in OPERATIONS])
    app.router.add_routes([pipeline.no_operation(OPERATIONS)])
    return app
