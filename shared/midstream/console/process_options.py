"""Options of a process that plays in a run: its data, cache, device, and what it does after a failure."""

from pathlib import Path
from typing import get_args

import click

from midstream.console.options import named, option, together
from midstream.mathematics.graphs.capturing import switch
from midstream.players.on_error import OnError
from midstream.run.process.precisions import Precision

data_options = together(
    option("--data-root", type=click.Path(path_type=Path), help="torchvision root that holds the data."),
    option("--download", is_flag=True, help="Download missing data from its authors."),
)

cache_option = option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="Cache folder of pretrained state, such as purifiers and surrogates; ~/.cache/midstream by default.",
)

checker_option = option(
    "--checker",
    shell_complete=named("checkers"),
    help="The checker: none, loss, loss,action=drop, or module:Class; none by default. Its options "
    "action=flag|drop|repair|stop, threshold, alarm and at=before|after say what the server does.",
)

allow_option = option(
    "--allow",
    multiple=True,
    help="A folder:PATH, module:name, file.py:name or file of weights that this process may load at a peer's "
    "request.",
)

resume_anyway_option = option(
    "--resume-anyway",
    is_flag=True,
    help="Resume even if versions, device, threads, settings or an attacker's memory have changed; "
    "the run records it.",
)

device_options = together(
    option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, …"),
    option("--threads", type=click.IntRange(1), help="CPU threads; another number may change the last bits."),
)


def _switched(_: click.Context, __: click.Parameter, on: bool) -> bool:
    switch(on)
    return on


capture_option = option(
    "--capture/--no-capture",
    default=True,
    show_default=True,
    callback=_switched,
    help="On CUDA, replay derivatives and steps as graphs: the same bits in less time.",
)

precision_option = option(
    "--precision",
    type=click.Choice(get_args(Precision)),
    default="float32",
    show_default=True,
    help="Precision of the derivatives and of the training step; tf32 is for CUDA.",
)

on_error_option = option(
    "--on-error",
    type=click.Choice(get_args(OnError)),
    default="stop",
    show_default=True,
    help="If a player fails at a batch, stop, or forward the batch unchanged and count it.",
)
