"""The training server as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from midstream_server.http import openapi, problems, routes_game, routes_history, routes_page, routes_runs
from midstream_server.http.other_sites import NoOtherSites
from midstream_server.http.small_bodies import SmallBodies
from midstream_server.runs.hosting.registry import Registry

_DESCRIPTION = """
A training server that receives its training data as minibatches over the network, possibly attacked on the
way. The project's `docs/protocol.md` describes the protocol. Errors are `application/problem+json`.
"""


class _App(FastAPI):
    def openapi(self) -> dict[str, object]:
        if self.openapi_schema is None:
            openapi.mend(super().openapi())
        assert self.openapi_schema is not None
        return self.openapi_schema


def make_app(registry: Registry) -> FastAPI:
    """Return the application that serves a registry's runs.

    Args:
        registry: the runs; its settings limit what a request may name.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for run in registry.runs.values():
            run.begin()
        yield
        for run in registry.runs.values():
            await run.close()

    app = _App(
        title="midstream training server",
        version=version("midstream"),
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(SmallBodies)
    app.add_middleware(NoOtherSites)
    app.state.registry = registry
    problems.install(app)
    for router in (routes_runs.router, routes_game.router, routes_history.router, routes_page.router):
        app.router.routes.extend(router.routes)  # include_router would build each route again, for 40 ms
    app.mount("/page", routes_page.PageFiles())
    return app


def wake(registry: Registry) -> None:
    """End every long poll and event stream, and refuse further batches."""
    registry.closing = True
    for run in registry.runs.values():
        run.closing = True
        run.changed.notify()
