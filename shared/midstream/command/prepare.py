"""`midstream prepare`: pretrain a player before a game."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from midstream import plugins
from midstream.command.local import say
from midstream.command.play import attack_budget
from midstream.console import options
from midstream.console.progress import Progress
from midstream.mathematics.budget import Norm
from midstream.run.batches import load_split
from midstream.run.datasets import Source
from midstream.run.environment import configure
from midstream.run.prepared import must_learn
from midstream_proxy.attack import AttackSettings
from midstream_proxy.local_game import LocalGame
from midstream_proxy.surrogates.black_box import attacked_run
from midstream_proxy.surrogates.surrogate import SurrogateSettings
from midstream_server.runs.training import TrainingRun


def _learned(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    kinds: tuple[plugins.Kind, ...] = ("attackers", "defenders")
    return sorted({name for kind in kinds for name in options.named(kind)(context, parameter, incomplete)})


@click.command("prepare")
@click.argument("name", shell_complete=_learned)
@click.option(
    "--as",
    "side",
    type=click.Choice(["attacker", "defender"]),
    help="Side of NAME; by default the defender if no attacker has that name.",
)
@options.specification_options
@options.attack_budget_options
@options.data_options
@options.surrogate_options
@options.process_options
@options.show_config
def command(
    name: str,
    side: str | None,
    attack_epsilon: float | None,
    attack_norm: Norm | None,
    data_root: Path | None,
    download: bool,
    surrogate: str | None,
    surrogate_epochs: int | None,
    surrogate_train_size: int | None,
    surrogate_seed: int | None,
    cache: Path | None,
    device: str,
    threads: int | None,
    **settings: Any,
) -> None:
    """Pretrain the attacker or defender NAME, and cache its pretrained state.

    `play`, `serve` and `attack` pretrain their players when they start, and reuse the cache if the options
    are equal. With --access black-box, any attacker trains its surrogate. After Ctrl-C, run the command
    again to continue.

    \b
    Example: midstream prepare vae --dataset digits
    """
    defends = side == "defender" or (
        side is None and name.partition(",")[0] not in plugins.names("attackers")
    )
    where = configure(threads=threads, device=device)
    source = Source(data_root, download)
    specification = options.specification(settings, defender=name if defends else "none")
    if (
        not defends
        and specification.access == "white-box"
        and not must_learn(plugins.make("attackers", name))
    ):
        raise click.UsageError(f"{name!r} needs no pretraining, except with --access black-box")
    run = TrainingRun(specification, load_split(specification, source), device=where)
    if defends and run.prepared:
        raise click.UsageError(f"{name!r} needs no pretraining")
    with Progress(0, label=name) as progress:

        def tell(step: int, steps: int, text: str) -> None:
            progress.update(step, text, total=steps)

        if defends:
            run.prepare(cache=cache, tell=tell, say=partial(say, "defender"))
            return
        ball = attack_budget(attack_epsilon, attack_norm, specification)
        own = SurrogateSettings(
            surrogate or "auto", surrogate_epochs, surrogate_train_size, surrogate_seed, cache
        )
        attack = AttackSettings(
            name, ball.epsilon, ball.norm, device=where, allowed=None, source=source, surrogate=own
        )
        attacked_run(LocalGame(run), attack, tell=tell, say=partial(say, "attacker"))
