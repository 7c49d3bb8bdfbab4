"""`midstream.play`: a game as a function call."""

from typing import Unpack

from midstream.command.api.result import GameResult
from midstream.command.api.settings import Settings, described, plan_from, signature
from midstream.command.games.game import Follow, as_game_errors
from midstream.command.games.playing import play_game


def play(*, follow: Follow | None = None, **settings: Unpack[Settings]) -> GameResult:
    """Play one game, as `midstream play` does, and return its result.

    Every option of the command is a setting, with underscores for dashes. The game is played in this process
    unless `transport="http"`. An attacker or a defender is a name with options, as for the command; or, in
    this process, a player object or its class.

    If `run` names a folder that holds this game unfinished, the game goes on from its last checkpoint and
    ends in the same bits. With `resume=True`, the result of a finished one is returned at once.

    Args:
        follow: called with the progress, `(steps done, total steps, text)`; by default it is shown on
            standard error.
        settings: see below.

    Raises:
        midstream.MidstreamError: a setting is wrong, the game cannot be played here, or it failed.

    >>> from tempfile import mkdtemp
    >>> result = play(attacker="level-1", max_steps=3, out=mkdtemp(), follow=lambda *done: None)
    >>> result.steps, result.metrics["loss"].shape
    (3, (3,))

    Settings:
    """
    plan, resume = plan_from(settings)
    with as_game_errors():
        return (plan.finished() if resume else None) or play_game(plan, follow=follow)


play.__doc__ = f"{play.__doc__}{described()}\n"
play.__signature__ = signature()  # type: ignore[attr-defined]
