"""`midstream estimate`: estimate M on a white image, and the PGD steps by the paper's rule."""

import json
from pathlib import Path
from typing import Any

import click

from midstream.console import options
from midstream.console.finite import POSITIVE
from midstream.console.process_options import data_options, device_options
from midstream.console.specification_options import specification_of, specification_options

_LEVELS = (2, 3, 4)


@click.command("estimate")
@specification_options
@data_options
@click.option(
    "--c",
    type=POSITIVE,
    help="Constant c of the rule; 2, 0.5 or 0.01 by default, by image size.",
)
@device_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@options.show_config
def command(
    data_root: Path | None,
    download: bool,
    c: float | None,
    device: str,
    threads: int | None,
    as_json: bool,
    **settings: Any,
) -> None:
    """Estimate M at θ_0: the change in validation loss after one step on a white image, times √pixels.

    M determines the number of PGD steps at level k: n_k = max(k, ⌈c/Δ_k⌉), 1/Δ_k = M² k² (1 + 2Mε)^(k-2).

    \b
    Example: midstream estimate --dataset digits
    """
    from midstream.mathematics.level_k_rules import constant_of_rule, step_size_by_rule, steps_by_rule
    from midstream.mathematics.smoothness import estimate_smoothness
    from midstream.run.batches import load_split
    from midstream.run.datasets import Source
    from midstream.run.process.environment import configure
    from midstream_server.runs.training import TrainingRun

    where = configure(threads=threads, device=device)
    specification = specification_of(settings)
    split = load_split(specification, Source(data_root, download))
    run = TrainingRun(specification, split, device=where)
    estimate = estimate_smoothness(
        run.model,
        split.validation.inputs.to(where),
        split.validation.labels.to(where),
        learning_rate=specification.learning_rate,
    )
    c = constant_of_rule(run.input_shape) if c is None else c
    rule = {"smoothness": estimate.value, "epsilon": specification.epsilon}
    steps = {k: steps_by_rule(k, c=c, **rule) for k in _LEVELS}
    if as_json:
        found = {"smoothness": estimate.value, "by_class": estimate.by_class, "steps": steps, "c": c}
        click.echo(json.dumps(found | {"dataset": specification.dataset, "seed": specification.seed}))
        return
    high = max(estimate.by_class)
    click.echo(
        f"M = {estimate.value:.3g}, the minimum over {len(estimate.by_class)} labels of the white image "
        f"(maximum {high:.3g}); {specification.validation_size} validation examples, "
        f"η = {specification.learning_rate:g}, ε = {specification.epsilon:g}, c = {c:g}"
    )
    for k in _LEVELS:
        size = step_size_by_rule(k, **rule)
        click.echo(f"level {k}: step size {size:.4g}, {steps[k]} PGD steps")
