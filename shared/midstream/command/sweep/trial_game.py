"""Play one trial into its run folder, or go on with it."""

from collections.abc import Generator

import click

from midstream.command.api.result import GameResult
from midstream.command.games.game import Follow, GameError, GamePlan
from midstream.command.games.local import local_turns
from midstream.command.games.playing import play_game
from midstream.command.games.side_by_side import ended
from midstream.command.results.results_folder import (
    FAILED,
    clear,
    held,
    outcome_of,
    write_failure,
    write_trial,
)
from midstream.command.sweep.place import Place
from midstream.command.sweep.trial import Trial
from midstream.protocol.problem import Problem
from midstream_server.runs.recovery.left import ResumeError


def play_trial(trial: Trial, place: Place, follow: Follow) -> GameResult:
    """Play a trial and return its result; see `trial_turns`."""
    return ended(trial_turns(trial, place, follow))


def trial_turns(trial: Trial, place: Place, follow: Follow) -> Generator[None, None, GameResult]:
    """Play a trial, and return its result. It yields whenever another game may have a turn.

    A finished trial is read from its folder. An unfinished one goes on from its checkpoint. It is played from
    the start if it cannot go on, for example because it was begun with another version of torch.

    Args:
        trial: the trial.
        place: where and how it is played; a game over HTTP is played in one turn.
        follow: called with the steps done, all steps and a text.

    Raises:
        GameError: the game failed.
    """
    with held(place.out, trial.name):
        done = outcome_of(trial, place.out)
        if done is not None:
            return done
        if not trial.unchanged:
            raise GameError("the file of one of its plug-ins changed since the sweep began; start it again")
        plan = trial.plan(place)
        if not _can_go_on(plan):
            clear(plan.folder)
        write_trial(plan.folder, trial)
        (plan.folder / FAILED).unlink(missing_ok=True)
        try:
            return (yield from _turns(plan, follow))
        except ResumeError:
            clear(plan.folder)
            write_trial(plan.folder, trial)
            return (yield from _turns(plan, follow))


def _turns(plan: GamePlan, follow: Follow) -> Generator[None, None, GameResult]:
    if plan.transport == "http":
        return play_game(plan, follow=follow)
    return plan.outcome((yield from local_turns(plan, follow)))


def _can_go_on(plan: GamePlan) -> bool:
    try:
        return plan.begun
    except GameError:
        return False  # it was begun in another way, for example over the other transport


def played(trial: Trial, place: Place, follow: Follow) -> str | None:
    """Play a trial; return None if it finished, or the reason why it failed, which is also recorded."""
    return ended(played_turns(trial, place, follow))


def played_turns(trial: Trial, place: Place, follow: Follow) -> Generator[None, None, str | None]:
    """Do what `played` does, and yield whenever another game may have a turn."""
    try:
        yield from trial_turns(trial, place, follow)
    except Exception as error:
        reason = sentence_of(error)
        write_failure(trial, place.out, reason)
        return reason
    return None


def sentence_of(error: Exception) -> str:
    """Return an error in one sentence, as the `midstream` command prints it.

    >>> sentence_of(ValueError("the budget is negative")), sentence_of(KeyError("a"))
    ('the budget is negative', "KeyError: 'a'")
    """
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, Problem):
        return f"{error.title}: {error.detail}"
    if isinstance(error, OSError) or (isinstance(error, ValueError | RuntimeError) and str(error)):
        return str(error)
    return f"{type(error).__name__}: {error}"
