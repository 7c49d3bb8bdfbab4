"""The training server as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI

from midstream_server.games.playing import PlayedGames
from midstream_server.http import (
    openapi,
    problems,
    routes_game,
    routes_games,
    routes_history,
    routes_page,
    routes_pictures,
    routes_runs,
)
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


def make_app(registry: Registry, games: PlayedGames | None = None) -> FastAPI:
    """Return the application that serves a registry's runs.

    Args:
        registry: the runs; its settings limit what a request may name.
        games: starts games that the operator asks for on the dashboard; None starts none.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        for run in registry.runs.values():
            run.begin()
        if games is not None:
            games.take_up()
        yield
        if games is not None:
            await games.close()
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
    app.state.games = games
    problems.install(app)
    for routes in (routes_runs, routes_games, routes_game, routes_history, routes_pictures, routes_page):
        app.router.routes.extend(
            routes.router.routes
        )  # include_router would build each route again, for 40 ms
    app.mount("/page", routes_page.PageFiles())
    return app


def wake(registry: Registry, games: PlayedGames | None = None) -> None:
    """End every long poll and event stream, refuse further batches, and end the processes of games."""
    if games is not None:
        games.interrupt()
    registry.closing = True
    for run in registry.runs.values():
        run.closing = True
        run.changed.notify()
