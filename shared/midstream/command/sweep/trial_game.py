"""Play one trial into its run folder, or go on with it."""

from typing import Any

import click

from midstream.command.game import Follow, GameError, GamePlan
from midstream.command.local import play_local
from midstream.command.processes import play_http
from midstream.command.sweep.place import Place
from midstream.command.sweep.results_folder import FAILED, clear, held, outcome_of, write_failure, write_trial
from midstream.command.sweep.trial import Trial, sources_of
from midstream.protocol.problem import Problem


def play_trial(trial: Trial, place: Place, follow: Follow) -> dict[str, Any]:
    """Play a trial and return what `midstream play --json` prints.

    A finished trial is read from its folder. An unfinished one goes on from its checkpoint over HTTP, and is
    played again in one process.

    Args:
        trial: the trial.
        place: where and how it is played.
        follow: called with the steps done, all steps and a text.

    Raises:
        GameError: the game failed.
    """
    with held(place.out, trial.name):
        done = outcome_of(trial, place.out)
        if done is not None:
            return done
        if sources_of(trial.specification, trial.attacker) != dict(trial.sources):
            raise GameError("the file of one of its plug-ins changed since the sweep began; start it again")
        plan = trial.plan(place)
        if plan.transport == "local" or not plan.begun:
            clear(plan.folder)
        write_trial(plan.folder, trial)
        plan.write_scenario()
        (plan.folder / FAILED).unlink(missing_ok=True)
        return plan.outcome(_play(plan, follow))


def _play(plan: GamePlan, follow: Follow) -> dict[str, Any]:
    return play_http(plan, follow) if plan.transport == "http" else play_local(plan, follow)


def played(trial: Trial, place: Place, follow: Follow) -> str | None:
    """Play a trial; return None if it finished, or the reason why it failed, which is also recorded."""
    try:
        play_trial(trial, place, follow)
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
