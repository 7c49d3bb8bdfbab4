"""A finished run's model, loaded from its folder."""

import click
import torch
from pydantic import ValidationError
from torch import nn

from midstream.command.runs.played import PlayedRun, read_run
from midstream.mathematics.seeds import seeded
from midstream.protocol.specification import Specification
from midstream.protocol.wire import tensors_sha256
from midstream.run.datasets import Split
from midstream.run.models import build_model
from midstream_server.runs.recovery.checkpoint import NEWEST, read_checkpoint


def finished(place: str) -> PlayedRun:
    """Return a run whose training has finished.

    Raises:
        click.UsageError: `place` is a URL, or the run is not finished.
    """
    if place.startswith(("http://", "https://")):
        raise click.UsageError(f"{place} is a URL; give the run folder, which holds the checkpoint")
    played = read_run(place)
    if played.result is None:
        raise click.UsageError(
            f"{place} is not finished: it has {len(played.records)} recorded steps and no result.json; wait "
            f"for the run to finish"
        )
    return played


def specification_of(played: PlayedRun) -> Specification:
    """Return a run's specification as an object.

    Raises:
        click.ClickException: a setting is invalid.
    """
    try:
        return Specification.model_validate(played.specification)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}, not {fault['input']!r:.80}"
            for fault in error.errors()
        )
        raise click.ClickException(f"{played.place}/specification.json is invalid: {faults}") from error


def model_of(played: PlayedRun, specification: Specification, split: Split) -> nn.Module:
    """Load a finished run's model from its checkpoint, and verify the parameters' digest.

    Raises:
        click.ClickException: there is no checkpoint, or its parameters differ from those of the result.
    """
    assert played.folder is not None
    assert played.result is not None
    path = played.folder / NEWEST
    checkpoint = read_checkpoint(path)
    if checkpoint is None:
        raise click.ClickException(f"{path} is missing: it should hold the parameters of the finished run")
    parameters = {
        name.removeprefix("model."): value
        for name, value in checkpoint.tensors.items()
        if name.startswith("model.")
    }
    if tensors_sha256(parameters) != played.result["parameters_sha256"]:
        raise click.ClickException(
            f"{path} holds parameters that differ from those in {played.folder / 'result.json'}; was one "
            f"of the files copied from another run?"
        )
    with seeded(torch.device("cpu"), specification.seed, "model"):
        model = build_model(
            specification.model,
            tuple(split.test.inputs.shape[1:]),
            len(split.classes),
            batch_norm=specification.batch_norm,
            batch_size=specification.batch_size,
        )
    model.load_state_dict(parameters)
    return model.eval().requires_grad_(False)
