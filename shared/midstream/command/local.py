"""A game in one process. Attacker, defender, batches and resulting bits equal those of a game over HTTP."""

from functools import partial
from typing import Any

import click

from midstream.command.game import Follow, GameError, GamePlan
from midstream.protocol.checks import check_batch
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Source
from midstream.run.environment import configure
from midstream.run.training import DivergedError
from midstream.storage.run_folder import RunFolder
from midstream_proxy.attack import AttackSettings
from midstream_proxy.local_game import LocalGame
from midstream_proxy.surrogates.black_box import attacked_run
from midstream_server.runs.record import RecordedRun
from midstream_server.runs.training import TrainingRun


def play_local(plan: GamePlan, follow: Follow) -> dict[str, Any]:
    """Play a game in this process and return the run's result.

    Raises:
        GameError: the training diverged.
    """
    device = configure(threads=plan.threads, device=plan.device)
    specification = plan.specification
    source = Source(plan.data_root, plan.download)
    split = load_split(specification, source)
    run = TrainingRun(specification, split, device=device)
    settings = AttackSettings(
        plan.attacker,
        plan.attack_budget.epsilon,
        plan.attack_budget.norm,
        plan.gradient,
        device,
        allowed=None,
        source=source,
        surrogate=plan.surrogate,
        on_error=specification.on_error,
    )
    batches = BatchSource(specification, split.train)
    folder = RunFolder(plan.folder)

    def wait(step: int, steps: int, text: str) -> None:
        follow(0, run.total_steps, f"{text}: step {step} of at most {steps}")

    try:
        run.prepare(cache=plan.surrogate.cache, tell=wait, say=partial(say, "defender"))
        attacked = None
        if plan.attacker != "none":
            attacked = attacked_run(LocalGame(run), settings, tell=wait, say=partial(say, "attacker"))
        recorded = RecordedRun(run, folder)
        for seq in range(run.total_steps):
            batch = batches.batch(seq)
            if attacked is not None:
                batch = attacked.attack(batch)
            checked = check_batch(
                batch,
                seq=seq,
                length=specification.batch_length(seq, run.train_size),
                input_shape=run.input_shape,
                classes=len(run.classes),
                pixel_range=specification.pixel_range,
            )
            recorded.train(checked, batch.report)
            recorded.settle()
            follow(seq + 1, run.total_steps, describe(recorded.records[-1], recorded))
    except DivergedError as error:
        raise GameError(f"run {plan.name!r} failed: {error}") from error
    finally:
        folder.close()
    assert recorded.result is not None
    return recorded.result


def say(who: str, text: str) -> None:
    """Print a message of one side for the operator."""
    click.echo(f"{who}: {text}", err=True)


def describe(record: dict[str, Any], recorded: RecordedRun) -> str:
    """Return a short progress text: epoch, loss, test accuracy."""
    accuracy = f", test accuracy {recorded.evaluation.test_accuracy:.3f}" if recorded.evaluation else ""
    return f"epoch {record['epoch'] + 1}, loss {record['loss']:.3f}{accuracy}"
