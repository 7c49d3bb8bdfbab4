"""A game in one process: the same pipeline as over HTTP, linked without a network. The bits are the same."""

from collections.abc import Generator

from midstream.command.games.game import Follow, GamePlan
from midstream.command.games.local_pipeline import LocalPipeline
from midstream.command.games.side_by_side import ended


def play_local(plan: GamePlan, follow: Follow) -> dict[str, object]:
    """Play a game in this process and return the run's result; see `local_turns`."""
    return ended(local_turns(plan, follow))


def local_turns(plan: GamePlan, follow: Follow) -> Generator[None, None, dict[str, object]]:
    """Play a game in this process, and return the run's result. It yields whenever others may have a turn.

    Raises:
        GameError: the training diverged, or another process plays the game.
        midstream_provider.push.RunEndedError: a player failed.
    """
    with LocalPipeline(plan, follow) as pipeline:
        waits = False
        for step in pipeline.turns():
            if step is not None:
                follow(step.seq + 1, pipeline.total_steps, pipeline.describe(step))
            if step is None or not waits:
                yield  # the device computes, or this game has had its turn
            waits = step is None
        assert pipeline.result is not None
        return pipeline.result
