"""`midstream play`: one game, from its specification to its result."""

import json
from dataclasses import replace
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
from midstream.console.process_options import data_options, device_options, on_error_option, surrogate_options
from midstream.console.progress import Progress
from midstream.console.scenario import read_scenario
from midstream.console.specification_options import (
    attack_budget_options,
    specification_of,
    specification_options,
)
from midstream.mathematics.budget import Budget, Norm
from midstream.protocol.specification import Specification
from midstream_proxy.surrogates.surrogate import SurrogateSettings


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
    attack_epsilon: float | None,
    attack_norm: Norm | None,
    gradient: Literal["server", "own"],
    transport: Literal["http", "local"],
    signed: Literal["provider", "attacker"] | None,
    data_root: Path | None,
    download: bool,
    surrogate: str | None,
    surrogate_epochs: int | None,
    surrogate_train_size: int | None,
    surrogate_seed: int | None,
    cache: Path | None,
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
    if specification.access == "white-box" and (surrogate or surrogate_epochs or surrogate_train_size):
        raise click.UsageError("--surrogate and its options are for black-box runs; add --access black-box")
    plan = GamePlan(
        specification=specification,
        attacker=attacker,
        attack_budget=attack_budget(attack_epsilon, attack_norm, specification),
        gradient=gradient,
        surrogate=SurrogateSettings(
            surrogate or "auto", surrogate_epochs, surrogate_train_size, surrogate_seed, cache
        ),
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


def attack_budget(epsilon: float | None, norm: Norm | None, specification: Specification) -> Budget:
    """Return the attacker's ball: the defender's, but for what was said of its own."""
    if epsilon is None and norm not in (None, specification.norm):
        raise click.UsageError(
            f"--attack-norm {norm} needs an --attack-epsilon: ε = {specification.epsilon:g} was meant for "
            f"the {specification.norm} ball"
        )
    own = specification.budget
    return replace(own, epsilon=own.epsilon if epsilon is None else epsilon, norm=norm or own.norm)
