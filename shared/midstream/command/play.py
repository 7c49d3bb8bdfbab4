"""`midstream play`: one game, from its specification to its result."""

import json
from pathlib import Path
from typing import Any, Literal

import click

from midstream import plugins
from midstream.command.game import GamePlan, free_name
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
from midstream_proxy.surrogates.surrogate_options import surrogate_of, surrogate_options

_SURROGATE = ("surrogate", "surrogate_epochs", "surrogate_train_size")


def play_game(plan: GamePlan, label: str = "") -> dict[str, Any]:
    """Play one game, showing its progress; return its outcome.

    Raises:
        midstream.command.game.GameError: it did not end well.
    """
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
    help="The attacker reads the validation gradient from the server, or computes its own.",
)
@options.option(
    "--transport",
    type=click.Choice(["http", "local"]),
    default="http",
    show_default=True,
    help="Three processes, or one; the parameters are the same to the bit.",
)
@options.option(
    "--signed",
    type=click.Choice(["provider", "attacker"]),
    help="Have batches signed, and say who holds the key: the provider alone, or an attacker that is the "
    "provider.",
)
@data_options
@surrogate_options
@options.option(
    "--out", default="runs", show_default=True, type=click.Path(path_type=Path), help="Run folders."
)
@options.option("--run", "name", help="Name of the run; made of data set and players by default.")
@device_options
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as one JSON object.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=print_players,
    help="Describe every attacker and defender with its options, and exit.",
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
    """Play one game: a data provider, an attacker in the middle, a training server with a defender.

    SCENARIO is a YAML file of these options. A run folder keeps everything to repeat the game.

    \b
    Example: midstream play --dataset digits --attacker level-1 --defender level-1
    """
    if signed is not None and transport == "local":
        raise click.UsageError("--signed is about what is altered on the way; it needs --transport http")
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
        f"everything is in {plan.folder}"
    )
    for side, count in outcome["passed_clean"].items():
        if count:
            click.echo(
                f"the {side} failed at {count} of {outcome['steps']} batches, which went on as they came"
            )
    for side, count in outcome["resumed_anyway"].items():
        if count:
            click.echo(resumed_words(side, count))


def _attacked_class(attacker: str) -> int | None:
    """Return the class that `conversion,target=3` is after, or None where an attacker names no class."""
    target = plugins.parse(attacker)[1].get("target", "")
    return int(target) if target.isdecimal() else None
