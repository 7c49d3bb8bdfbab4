"""Routes of games that an operator starts from the dashboard."""

from fastapi import APIRouter, Request

from midstream.protocol.messages.games import GameRequest, Games, StartedGames
from midstream.protocol.problem import Problem
from midstream_server.games.playing import PlayedGames
from midstream_server.http.problems import documented

router = APIRouter(tags=["games"])


def _games_of(request: Request) -> PlayedGames | None:
    games: PlayedGames | None = request.app.state.games
    return games


@router.get("/v1/games", summary="Games started from the dashboard")
async def games(request: Request) -> Games:
    """Return what games this server offers to start, and the ones that were started."""
    played = _games_of(request)
    return Games(offered=None, games=[]) if played is None else played.state()


@router.post(
    "/v1/games",
    summary="Start a game, with its attacker and its data provider",
    status_code=201,
    responses=documented(400, 403, 409, 422),
)
async def start(asked: GameRequest, request: Request) -> StartedGames:
    """Create one run, or three to compare, and start the processes that play them.

    The server does this only if its operator started it with `--games`. It starts midstream's own attacker
    proxy and data provider, with players of a fixed list and without options.
    """
    played = _games_of(request)
    if played is None:
        detail = "this server starts no games; its operator can start it with 'midstream serve --games'"
        raise Problem(403, "Games are not offered", detail)
    return StartedGames(runs=await played.start(asked))
