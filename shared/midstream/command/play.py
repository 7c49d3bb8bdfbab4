"""`midstream play`: play one game."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from midstream import plugins
from midstream.command.listing import print_players
from midstream.console import options
from midstream.console.process_options import data_options, device_options, on_error_option
from midstream.console.scenario import read_scenario
from midstream.console.specification_options import (
    attack_budget_of,
    attack_budget_options,
    specification_of,
    specification_options,
)
from midstream_proxy.surrogates.surrogate_options import surrogate_of, surrogate_options

if TYPE_CHECKING:
    from midstream.command.game import GamePlan

_SURROGATE = ("surrogate", "surrogate_epochs", "surrogate_train_size")


def play_game(plan: "GamePlan", label: str = "") -> dict[str, Any]:
    """Play one game, show its progress and return its outcome.

    Raises:
        midstream.command.game.GameError: the game failed.
    """
    from midstream.command.local import play_local
    from midstream.command.processes import play_http
    from midstream.console.progress import Progress

    with Progress(0, label=label or plan.name) as progress:

        def follow(step: int, total: int, text: str) -> None:
            progress.update(step, text, total=total)

        play = play_http if plan.transport == "http" else play_local
        outcome = plan.outcome(play(plan, follow))
    if plan.transport == "local":
        plan.write_scenario()
    return outcome


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
def command(
    attacker: str,
    defender: str,
    gradient: Literal["server", "own"],
    transport: Literal["http", "local"],
    signed: Literal["provider", "attacker"] | None,
    data_root: Path | None,
    download: bool,
    out: Path,
    name: str | None,
    device: str,
    threads: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Play one game: a data provider, an attacker in the middle, and a training server with a defender.

    SCENARIO is a YAML file with these options. The run folder holds everything needed to repeat the game.

    \b
    Example: midstream play --dataset digits --attacker level-1 --defender level-1
    """
    from midstream.command.game import GamePlan, free_name

    if signed is not None and transport == "local":
        raise click.UsageError("--signed protects batches in transit; it needs --transport http")
    plugins.make("attackers", attacker)
    plugins.make("defenders", defender)
    if settings["target"] is None:
        settings["target"] = _attacked_class(attacker)
    dataset = settings["dataset"] or "digits"
    words = [dataset.rpartition("/")[2], attacker, "vs", defender, f"seed{settings['seed'] or 0}"]
    name = free_name(out, *words) if name is None else name
    specification = specification_of(settings, defender=defender, name=name)
    if specification.access == "white-box" and any(settings[name] for name in _SURROGATE):
        raise click.UsageError("--surrogate and its options are for black-box runs; add --access black-box")
    plan = GamePlan(
        specification=specification,
        attacker=attacker,
        attack_budget=attack_budget_of(settings, specification),
        gradient=gradient,
        surrogate=surrogate_of(settings),
        transport=transport,
        signed=signed,
        out=out,
        data_root=data_root,
        download=download,
        device=device,
        threads=threads,
    )
    outcome = play_game(plan)
    if as_json:
        click.echo(json.dumps(outcome))
        return
    measured = ("test_accuracy", "validation_loss", "conversion_rate", "evasion_rate")
    figures = [f"{key.replace('_', ' ')} {outcome[key]:.4f}" for key in measured if outcome[key] is not None]
    click.echo(
        f"{', '.join(figures)} after {outcome['steps']} steps in {outcome['seconds']:.0f} s; "
        f"the run folder is {plan.folder}"
    )
    for side, count in outcome["passed_clean"].items():
        if count:
            click.echo(f"the {side} failed on {count} of {outcome['steps']} batches, which passed unchanged")
    for side, count in outcome["resumed_anyway"].items():
        if count:
            from midstream.command.summary import resumed_words

            click.echo(resumed_words(side, count))


def _attacked_class(attacker: str) -> int | None:
    """Return the target class of an attacker such as `conversion,target=3`, or None."""
    target = plugins.parse(attacker)[1].get("target", "")
    return int(target) if target.isdecimal() else None
