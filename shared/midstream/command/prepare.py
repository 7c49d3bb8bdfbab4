"""`midstream prepare`: pretrain a player before a game."""

from functools import partial
from pathlib import Path
from typing import Any

import click

from midstream import plugins
from midstream.console import options
from midstream.console.process_options import data_options, device_options, precision_option
from midstream.console.specification_options import (
    attack_budget_of,
    attack_budget_options,
    specification_of,
    specification_options,
)
from midstream.run.process.precisions import Precision
from midstream_proxy.surrogates.surrogate_options import surrogate_of, surrogate_options


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
@specification_options
@attack_budget_options
@data_options
@surrogate_options
@device_options
@precision_option
@options.show_config
def command(
    name: str,
    side: str | None,
    data_root: Path | None,
    download: bool,
    device: str,
    threads: int | None,
    precision: Precision,
    **settings: Any,
) -> None:
    """Pretrain the attacker or defender NAME, and cache its pretrained state.

    `play`, `serve` and `attack` pretrain their players when they start, and reuse the cache if the options
    are equal. With --access black-box, any attacker trains its surrogate. After Ctrl-C, run the command
    again to continue.

    \b
    Example: midstream prepare vae --dataset digits
    """
    from midstream.command.games.local_pipeline import say
    from midstream.console.progress import Progress
    from midstream.run.batches import load_split
    from midstream.run.datasets import Source
    from midstream.run.pretrained.prepared import must_learn
    from midstream.run.process.environment import configure
    from midstream_proxy.attack import AttackSettings
    from midstream_proxy.reading.local_game import LocalGame
    from midstream_proxy.surrogates.black_box import attacked_run
    from midstream_server.runs.training import TrainingRun

    defends = side == "defender" or (
        side is None and name.partition(",")[0] not in plugins.names("attackers")
    )
    where = configure(threads=threads, device=device, precision=precision)
    source = Source(data_root, download)
    specification = specification_of(settings, defender=name if defends else "none")
    if (
        not defends
        and specification.access == "white-box"
        and not must_learn(plugins.make("attackers", name))
    ):
        raise click.UsageError(f"{name!r} needs no pretraining, except with --access black-box")
    run = TrainingRun(specification, load_split(specification, source), device=where)
    if defends and run.prepared:
        raise click.UsageError(f"{name!r} learns nothing before a game")
    surrogate = surrogate_of(settings)
    with Progress(0, label=name) as progress:

        def tell(step: int, steps: int, text: str) -> None:
            progress.update(step, text, total=steps)

        if defends:
            run.prepare(cache=surrogate.cache, tell=tell, say=partial(say, "defender"))
            return
        ball = attack_budget_of(settings, specification)
        attack = AttackSettings(
            name,
            epsilon=ball.epsilon,
            norm=ball.norm,
            device=where,
            allowed=None,
            source=source,
            surrogate=surrogate,
        )
        attacked_run(LocalGame(run), attack, tell=tell, say=partial(say, "attacker"))
