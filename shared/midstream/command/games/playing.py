"""From the settings of `midstream play` to a game, and from the game to its result."""

from collections.abc import Mapping
from typing import Any

import click

from midstream import plugins
from midstream.command.api.result import GameResult
from midstream.command.games.game import Follow, GamePlan
from midstream.command.games.local import play_local
from midstream.command.games.processes import play_http
from midstream.command.games.run_names import free_name, run_name
from midstream.console.progress import Progress
from midstream.console.specification_options import attack_budget_of, specification_of
from midstream.players.checking import Gate
from midstream.players.interface import Player
from midstream.players.wrappers.composing import composes
from midstream.run.augmentation import check_augmentation
from midstream.run.optimizing.optimizers import check
from midstream_proxy.surrogates.surrogate_options import surrogate_of

_AS_GIVEN = (
    *("gradient", "transport", "signed", "out", "data_root", "download"),
    *("device", "threads", "precision"),
)
_SURROGATE = ("surrogate", "surrogate_epochs", "surrogate_train_size")


def play_game(plan: GamePlan, label: str = "", follow: Follow | None = None) -> GameResult:
    """Play one game and return its result.

    Args:
        plan: the game.
        label: text in front of the progress bar; the run's name by default.
        follow: called with the progress; None shows it on standard error.

    Raises:
        midstream.MidstreamError: the game failed, or cannot be played here.
    """
    play = play_http if plan.transport == "http" else play_local
    if follow is not None:
        return plan.outcome(play(plan, follow))
    with Progress(0, label=label or plan.name) as progress:

        def show(step: int, total: int, text: str) -> None:
            progress.update(step, text, total=total)

        return plan.outcome(play(plan, show))


def plan_of(
    settings: Mapping[str, Any],
    *,
    resume: bool,
    attacking: Player | None = None,
    defending: Player | None = None,
    checking: Gate | None = None,
) -> GamePlan:
    """Return the plan of the game that the command's settings describe.

    Args:
        settings: the values of all options of `command`, by parameter name.
        resume: whether a game in the run folder goes on, so that its name is not numbered.
        attacking: the attacker itself, if it is not to be made from its name.
        defending: the defender itself, likewise.
        checking: the checker itself, likewise.

    Raises:
        click.UsageError: a value is out of range, or two do not fit together.
        midstream.plugins.PluginError: there is no such attacker, defender, checker, optimizer, schedule or
            augmentation.
    """
    settings, attacker, defender = dict(settings), settings["attacker"], settings["defender"]
    if settings["signed"] is not None and settings["transport"] == "local":
        raise click.UsageError("--signed protects batches in transit; it needs --transport http")
    if composes(attacking or plugins.make("attackers", attacker)):
        settings["batch_sizes"] = _for_any_size(settings, attacker)
    if defending is None:
        plugins.make("defenders", defender)
    checker = None if settings["checker"] == "none" else settings["checker"]
    if checking is None and checker is not None:
        plugins.make_gate(checker)
    if settings["target"] is None:
        settings["target"] = _attacked_class(attacker)
    name = settings["name"]
    if name is None:
        dataset = (settings["dataset"] or "digits").rpartition("/")[2]
        checked = [] if checker is None else [checker]
        words = [dataset, attacker, "vs", defender, *checked, f"seed{settings['seed'] or 0}"]
        name = run_name(*words) if resume else free_name(settings["out"], *words)
    specification = specification_of(settings, defender=defender, name=name)
    check(specification.optimizer, specification.schedule)
    check_augmentation(specification)
    if specification.access == "white-box" and any(settings[name] for name in _SURROGATE):
        raise click.UsageError("--surrogate and its options are for black-box runs; add --access black-box")
    return GamePlan(
        specification=specification,
        attacker=attacker,
        attack_budget=attack_budget_of(settings, specification),
        surrogate=surrogate_of(settings),
        attacking=attacking,
        defending=defending,
        checking=checking,
        **{name: settings[name] for name in _AS_GIVEN},
    )


def _for_any_size(settings: Mapping[str, Any], attacker: str) -> str:
    """Return the batch sizes that a run must take from an attacker who composes minibatches."""
    if settings["access"] == "black-box":
        raise click.UsageError(
            f"attacker {attacker!r} sends other examples than came; in a black-box game, attackers only move "
            f"them"
        )
    if settings.get("batch_sizes") == "exact":
        raise click.UsageError(
            f"attacker {attacker!r} sends more or fewer examples than came, and --batch-sizes exact refuses "
            f"such minibatches; leave it out"
        )
    return "any"


def _attacked_class(attacker: str) -> int | None:
    """Return the target class of an attacker such as `conversion,target=3`, or None."""
    target = plugins.parse(attacker)[1].get("target", "")
    return int(target) if target.isdecimal() else None
