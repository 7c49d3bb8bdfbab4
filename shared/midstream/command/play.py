"""`midstream play`: play one game."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from midstream import plugins
from midstream.command.api.result import GameResult
from midstream.command.game import Follow, GamePlan, free_name, run_name
from midstream.command.listing import print_players
from midstream.command.local import play_local
from midstream.command.processes import play_http
from midstream.command.summary import resumed_words
from midstream.console import options
from midstream.console.process_options import data_options, device_options, on_error_option
from midstream.console.progress import Progress
from midstream.console.scenario import read_scenario
from midstream.console.specification_options import (
    attack_budget_of,
    attack_budget_options,
    specification_of,
    specification_options,
)
from midstream.players.interface import Player
from midstream_proxy.surrogates.surrogate_options import surrogate_of, surrogate_options

_AS_GIVEN = ("gradient", "transport", "signed", "out", "data_root", "download", "device", "threads")
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


@click.command("play")
@click.argument(
    "scenario",
    required=False,
    is_eager=True,
    expose_value=False,
    callback=read_scenario,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@specification_options
@options.option(
    "--attacker",
    default="level-1",
    show_default=True,
    shell_complete=options.named("attackers"),
    help="none, level-1,beta=0.9, module:Class, …",
)
@options.option(
    "--defender",
    default="none",
    show_default=True,
    shell_complete=options.named("defenders"),
    help="none, level-1, level-1+cutmix, module:Class, …",
)
@attack_budget_options
@on_error_option
@options.option(
    "--gradient",
    type=click.Choice(["server", "own"]),
    default="server",
    show_default=True,
    help="Source of the attacker's validation gradient: the server, or its own computation.",
)
@options.option(
    "--transport",
    type=click.Choice(["http", "local"]),
    default="http",
    show_default=True,
    help="http: three processes; local: one process. Both give bit-identical parameters.",
)
@options.option(
    "--signed",
    type=click.Choice(["provider", "attacker"]),
    help="Require signed batches. The key is held by the provider only, or by an attacker that acts as the "
    "provider.",
)
@data_options
@surrogate_options
@options.option(
    "--out",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Parent of the run folders.",
)
@options.option("--run", "name", help="Name of the run; built from data set, players and seed by default.")
@click.option(
    "--resume",
    is_flag=True,
    help="If the run folder holds this game, go on with it, or print its result if it is finished.",
)
@device_options
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_players,
    help="List all attackers and defenders with their options, and exit.",
)
@options.show_config
def command(as_json: bool, resume: bool, **settings: Any) -> None:
    """Play one game: a data provider, an attacker in the middle, and a training server with a defender.

    SCENARIO is a YAML file with these options. The run folder holds everything needed to repeat the game. A
    game that was interrupted goes on if the same command with the same --run is given again.

    \b
    Example: midstream play --dataset digits --attacker level-1 --defender level-1
    """
    plan = plan_of(settings, resume=resume)
    result = (plan.finished() if resume else None) or play_game(plan)
    outcome = result.as_dict()
    if as_json:
        click.echo(json.dumps(outcome))
        return
    measured = ("test_accuracy", "validation_loss", "conversion_rate", "evasion_rate")
    figures = [f"{key.replace('_', ' ')} {outcome[key]:.4f}" for key in measured if outcome[key] is not None]
    click.echo(
        f"{', '.join(figures)} after {result.steps} steps in {result.seconds:.0f} s; "
        f"the run folder is {plan.folder}"
    )
    for side, count in result.passed_clean.items():
        if count:
            click.echo(f"the {side} failed on {count} of {result.steps} batches, which passed unchanged")
    for side, count in result.resumed_anyway.items():
        if count:
            click.echo(resumed_words(side, count))


def plan_of(
    settings: Mapping[str, Any],
    *,
    resume: bool,
    attacking: Player | None = None,
    defending: Player | None = None,
) -> GamePlan:
    """Return the plan of the game that the command's settings describe.

    Args:
        settings: the values of all options of `command`, by parameter name.
        resume: whether a game in the run folder goes on, so that its name is not numbered.
        attacking: the attacker itself, if it is not to be made from its name.
        defending: the defender itself, likewise.

    Raises:
        click.UsageError: a value is out of range, or two do not fit together.
        midstream.plugins.PluginError: there is no such attacker or defender.
    """
    settings, attacker, defender = dict(settings), settings["attacker"], settings["defender"]
    if settings["signed"] is not None and settings["transport"] == "local":
        raise click.UsageError("--signed protects batches in transit; it needs --transport http")
    if attacking is None:
        plugins.make("attackers", attacker)
    if defending is None:
        plugins.make("defenders", defender)
    if settings["target"] is None:
        settings["target"] = _attacked_class(attacker)
    name = settings["name"]
    if name is None:
        dataset = (settings["dataset"] or "digits").rpartition("/")[2]
        words = [dataset, attacker, "vs", defender, f"seed{settings['seed'] or 0}"]
        name = run_name(*words) if resume else free_name(settings["out"], *words)
    specification = specification_of(settings, defender=defender, name=name)
    if specification.access == "white-box" and any(settings[name] for name in _SURROGATE):
        raise click.UsageError("--surrogate and its options are for black-box runs; add --access black-box")
    return GamePlan(
        specification=specification,
        attacker=attacker,
        attack_budget=attack_budget_of(settings, specification),
        surrogate=surrogate_of(settings),
        attacking=attacking,
        defending=defending,
        **{name: settings[name] for name in _AS_GIVEN},
    )


def _attacked_class(attacker: str) -> int | None:
    """Return the target class of an attacker such as `conversion,target=3`, or None."""
    target = plugins.parse(attacker)[1].get("target", "")
    return int(target) if target.isdecimal() else None
