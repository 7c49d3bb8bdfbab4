"""`midstream play`: play one game."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from midstream.command.listing import ALL, print_players
from midstream.console import options
from midstream.console.process_options import (
    capture_option,
    checker_option,
    data_options,
    device_options,
    on_error_option,
    precision_option,
    reduce_option,
)
from midstream.console.scenario import read_scenario
from midstream.console.specification_options import attack_budget_options, specification_options
from midstream_proxy.surrogates.surrogate_options import surrogate_options

if TYPE_CHECKING:
    from midstream.command.api.result import GameResult
    from midstream.command.games.game import GamePlan


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
@checker_option
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
@capture_option
@precision_option
@reduce_option
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.option(
    "--list",
    is_flag=False,
    flag_value=ALL,
    metavar="[NAME]",
    is_eager=True,
    expose_value=False,
    callback=print_players,
    help="Describe all attackers, defenders and checkers with their options, or the named one, and exit.",
)
@options.show_config
def command(as_json: bool, resume: bool, **settings: Any) -> None:
    """Play one game: a data provider, an attacker in the middle, and a training server with a defender.

    SCENARIO is a YAML file with these options. The run folder holds everything needed to repeat the game. A
    game that was interrupted goes on if the same command with the same --run is given again.

    \b
    Example: midstream play --dataset digits --attacker level-1 --defender level-1
    """
    from midstream.command.games.playing import plan_of, play_game
    from midstream.run.ranks.opening import place, ranks

    if place() is not None and settings["transport"] != "local":
        raise click.UsageError(
            "--transport http starts processes of its own; play with --transport local under torchrun, or "
            "start midstream serve with it"
        )
    computing = {name: settings[name] for name in ("device", "threads", "precision", "reduce")}
    with ranks(**computing, allowed=None) as plays:
        if not plays:
            return
        plan = plan_of(settings, resume=resume)
        result = (plan.finished() if resume else None) or play_game(plan)
    _print(plan, result, as_json=as_json)


def _print(plan: "GamePlan", result: "GameResult", *, as_json: bool) -> None:
    from midstream.tasks.words import WORDS

    outcome = result.as_dict()
    if as_json:
        click.echo(json.dumps(outcome))
        return
    test = {f"test {WORDS[key.removeprefix('test_')]}": value for key, value in result.of_test().items()}
    others = ("validation_loss", "conversion_rate", "evasion_rate")
    measured = test | {key.replace("_", " "): outcome[key] for key in others}
    figures = [f"{words} {value:.4f}" for words, value in measured.items() if value is not None]
    click.echo(
        f"{', '.join(figures)} after {result.steps} steps in {result.seconds:.0f} s; "
        f"the run folder is {plan.folder}"
    )
    if result.checker is not None:
        from midstream.command.runs.summary import checker_words

        click.echo(checker_words(result.checker))
    for side, count in result.passed_clean.items():
        if count:
            click.echo(f"the {side} failed on {count} of {result.steps} batches, which passed unchanged")
    for side, count in result.resumed_anyway.items():
        if count:
            from midstream.command.runs.summary import resumed_words

            click.echo(resumed_words(side, count))
