"""`midstream play`: play one game."""

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
from midstream.console.progress import Progress
from midstream.console.scenario import read_scenario
from midstream.mathematics.budget import Budget, Norm
from midstream.protocol.specification import Specification
from midstream_proxy.surrogates.surrogate import SurrogateSettings


def play_game(plan: GamePlan, label: str = "") -> dict[str, Any]:
    """Play one game, show its progress and return its outcome.

    Raises:
        midstream.command.game.GameError: the game failed.
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
@options.specification_options
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
@options.attack_budget_options
@options.on_error_option
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
@options.data_options
@options.surrogate_options
@options.option(
    "--out",
    default="runs",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Parent of the run folders.",
)
@options.option("--run", "name", help="Name of the run; built from data set, players and seed by default.")
@options.process_options
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
    """Play one game: a data provider, an attacker in the middle, and a training server with a defender.

    SCENARIO is a YAML file with these options. The run folder holds everything needed to repeat the game.

    \b
    Example: midstream play --dataset digits --attacker level-1 --defender level-1
    """
    if signed is not None and transport == "local":
        raise click.UsageError("--signed protects batches in transit; it needs --transport http")
    plugins.make("attackers", attacker)
    plugins.make("defenders", defender)
    if settings["target"] is None:
        settings["target"] = _attacked_class(attacker)
    dataset = settings["dataset"] or "digits"
    words = [dataset.rpartition("/")[2], attacker, "vs", defender, f"seed{settings['seed'] or 0}"]
    name = free_name(out, *words) if name is None else name
    specification = options.specification(settings, defender=defender, name=name)
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
        f"the run folder is {plan.folder}"
    )
    for side, count in outcome["passed_clean"].items():
        if count:
            click.echo(f"the {side} failed on {count} of {outcome['steps']} batches, which passed unchanged")
    for side, count in outcome["resumed_anyway"].items():
        if count:
            click.echo(resumed_words(side, count))


def _attacked_class(attacker: str) -> int | None:
    """Return the target class of an attacker such as `conversion,target=3`, or None."""
    target = plugins.parse(attacker)[1].get("target", "")
    return int(target) if target.isdecimal() else None


def attack_budget(epsilon: float | None, norm: Norm | None, specification: Specification) -> Budget:
    """Return the attacker's budget; what is not given is taken from the defender's budget.

    Raises:
        click.UsageError: the norm differs from the defender's and no radius is given.
    """
    if epsilon is None and norm not in (None, specification.norm):
        raise click.UsageError(
            f"--attack-norm {norm} needs --attack-epsilon: the default ε = {specification.epsilon:g} is for "
            f"the {specification.norm} norm"
        )
    own = specification.budget
    return replace(own, epsilon=own.epsilon if epsilon is None else epsilon, norm=norm or own.norm)
