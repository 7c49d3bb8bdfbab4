"""The games of figure 6 (section 6.2, A.1.2): few digits, small models, second-order attackers."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from midstream.command.figures.games import ObservedGame, Turn
from midstream.mathematics.derivatives.gradients import functional_call, trainable
from midstream.mathematics.loss import cross_entropy
from midstream.protocol.specification import Specification
from midstream.run.datasets import Split

_TRAIN, _VALIDATION, _TEST = 40, 400, 2500
_POINTS = 12  # points of a curve after its first


@dataclass(frozen=True)
class Game:
    """One column of the figure.

    Attributes:
        title: title of the column.
        dataset: name of the data set.
        model: name of the model.
        epochs: number of epochs; each is one step, since a batch holds all 40 training images.
        damping: λ of the inverse Hessian, per validation example.
        iterations: maximum number of conjugate gradient steps.
    """

    title: str
    dataset: str
    model: str
    epochs: int
    damping: float
    iterations: int


# A network's Hessian is indefinite, even more so in attacked training. In clean training, its most negative
# eigenvalue is −0.3 to −1.2 per validation example on 1 vs 7, and −0.5 to −10 on ten digits. The damping is
# well above that: with only slightly more, the solver met negative curvature under attack.
GAMES = {
    "logistic": Game("logistic regression, 1 vs 7", "mnist-1-vs-7", "logistic", 120, 0.1, 10),
    "cnn": Game("small CNN, 1 vs 7", "mnist-1-vs-7", "small-cnn", 40, 5.0, 5),
    "cnn-10": Game("small CNN, ten digits", "mnist", "small-cnn", 60, 20.0, 5),
}
ATTACKERS = ("none", "level-1", "level-2-closed-form", "optimal-contraction", "influence")
_SOLVERS = ("optimal-contraction", "influence")


@dataclass(frozen=True)
class Point:
    """One run at one epoch.

    Attributes:
        epoch: epochs trained so far.
        accuracy: accuracy on the test images.
        gradient_norm: `Σ_{x∈D_t} ‖∇θ L_θt(x')‖₂` over the attacked batch.
        clean_gradient_norm: the same over the clean batch.
        report: the attacker's report on its move.
    """

    epoch: int
    accuracy: float
    gradient_norm: float
    clean_gradient_norm: float
    report: dict[str, float]


def specify(game: Game, seed: int) -> Specification:
    """Return the specification of a game: Adam with learning rate 0.0008, ε = 3, no defender."""
    return Specification.model_validate(
        {
            "dataset": game.dataset,
            "model": game.model,
            "train_size": _TRAIN,
            "validation_size": _VALIDATION,
            "batch_size": _TRAIN,
            "epsilon": 3.0,
            "epochs": game.epochs + 1,  # the batch after the last epoch is only measured, not trained on
            "seed": seed,
        }
    )


def thinned(split: Split) -> Split:
    """Return a split with at most 2,500 test images, evenly spaced, because accuracy is measured often."""
    return replace(split, test=split.test[torch.arange(0, len(split.test), -(-len(split.test) // _TEST))])


def armed(attacker: str, game: Game) -> str:
    """Return an attacker's name with its options for a game."""
    if attacker not in _SOLVERS:
        return attacker
    return f"{attacker},damping={game.damping:g},max_iterations={game.iterations}"


def play(game: Game, split: Split, attacker: str, *, seed: int, threads: int) -> Iterator[Point | None]:
    """Play one run; yield for each epoch a point of its curve, or None if the epoch is not measured."""
    observed = ObservedGame(specify(game, seed), split, attacker, threads=threads)
    every = max(1, game.epochs // _POINTS)
    for turn in observed.turns():
        yield _point(observed, turn) if turn.seq % every == 0 or turn.seq == game.epochs else None
        if turn.seq == game.epochs:
            return


def _point(observed: ObservedGame, turn: Turn) -> Point:
    model, accuracy = observed.run.model, observed.run.evaluate().test_accuracy
    assert accuracy is not None
    return Point(
        epoch=turn.seq,
        accuracy=accuracy,
        gradient_norm=gradient_norm(model, turn.attacked, turn.labels),
        clean_gradient_norm=gradient_norm(model, turn.clean, turn.labels),
        report=dict(turn.report),
    )


def gradient_norm(model: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Return `Σ_x ‖∇θ L_θ(x)‖₂`, with one gradient per example (paper, caption of figure 6)."""
    parameters = {name: value.detach() for name, value in trainable(model).items()}

    def loss(at: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(functional_call(model, at, (x[None],)), y[None])

    gradients: dict[str, Tensor] = vmap(grad(loss), in_dims=(None, 0, 0))(parameters, inputs, labels)
    squares = [gradient.flatten(1).square().sum(1) for gradient in gradients.values()]
    return float(torch.stack(squares).sum(0).sqrt().sum())


def summary(curves: list[list[Point]]) -> dict[str, Any]:
    """Summarize the runs of one attacker as JSON: means and deviations over seeds at each epoch."""

    def over_runs(value: Callable[[Point], float]) -> dict[str, list[float]]:
        table = torch.tensor([[value(point) for point in curve] for curve in curves], dtype=torch.float64)
        return {"mean": table.mean(0).tolist(), "deviation": table.std(0).tolist()}

    found: dict[str, Any] = {
        "epoch": [point.epoch for point in curves[0]],
        "test_accuracy": over_runs(lambda point: point.accuracy),
        "gradient_norm": over_runs(lambda point: point.gradient_norm),
        "clean_gradient_norm": over_runs(lambda point: point.clean_gradient_norm),
        "test_accuracy_at_the_end": [curve[-1].accuracy for curve in curves],
    }
    for name in curves[0][0].report:
        found[name] = over_runs(lambda point: point.report[name])  # noqa: B023, called before the next turn
    return found
