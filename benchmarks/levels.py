"""(f) The cost of a move and (g) of a whole step by level, compared with the count of their derivatives."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Literal

import torch

from benchmarks.measure import Row, interleaved
from benchmarks.step import BATCH, VALIDATION, Ours
from benchmarks.synthetic import split
from midstream import plugins
from midstream.mathematics.derivatives.gradients import validation_gradient
from midstream.mathematics.derivatives.hessian import hessian_vector_product
from midstream.mathematics.unrolled import unrolled_utility_gradient
from midstream.players.interface import Batch, Player
from midstream.protocol.specification import Specification
from midstream_server.runs.training import TrainingRun

_NEAR = 0.15  # permitted relative difference between measured and counted cost
_STEPS = {2: 2, 4: 7}  # n_k of the paper's rule on MNIST
_SOLVER = "max_iterations=2,tolerance=1e-9"
_LEVEL_1 = "level-1 attack"


@dataclass(frozen=True)
class Count:
    """Number of derivatives of each kind in a move; they make up almost all of its cost.

    A mixed derivative counts as one level-1 attack, which is a mixed derivative and a normalisation.
    """

    mixed: int = 1
    products: int = 0
    gradients: int = 0
    batch_gradients: int = 0

    def seconds(self, times: dict[str, float]) -> float:
        """Return the total cost, given the seconds that one derivative of each kind took in the same run."""
        units = times | {"mixed": times[_LEVEL_1]}
        return sum((number * units[kind] for kind, number in asdict(self).items()), 0.0)


class Moves:
    """The moves of installed players at the first step of one run, with v already computed."""

    def __init__(self, device: torch.device) -> None:
        specification = Specification.model_validate({"dataset": "mnist", "validation_size": VALIDATION})
        data = split(BATCH, VALIDATION)
        self.run = TrainingRun(specification, data, device=device)
        self.view = self.run.view()
        self.batch = Batch(0, data.train.pixels().to(device), data.train.labels.to(device))
        self.dval = (self.view.validation_inputs, self.view.validation_labels)

    def derivatives(self) -> dict[str, Callable[[], object]]:
        """Return the level-1 attack, and one derivative of each other kind in `Count`."""
        model, v = self.view.model, self.view.validation_gradient()
        x, y = self.batch.inputs, self.batch.labels
        return {
            _LEVEL_1: self.of("attackers", "level-1,beta=0"),
            "products": lambda: hessian_vector_product(model, *self.dval, v),
            "gradients": lambda: validation_gradient(model, *self.dval),
            "batch_gradients": lambda: validation_gradient(model, x, y),
        }

    def of(self, side: Literal["attackers", "defenders"], text: str) -> Callable[[], object]:
        """Return the move of one player."""
        player: Player = plugins.make(side, text)
        view = replace(self.view, role=side.removesuffix("s"))
        return lambda: player.perturb(self.batch, view)

    def solver_iterations(self, text: str) -> int:
        """Return the number of Hessian products of an attacker's conjugate gradients."""
        self.of("attackers", text)()
        return int(self.view.reports["cg_iterations"])

    def exact(self) -> object:
        """Return the gradient of the utility through an Adam step."""
        x, y = self.batch.inputs, self.batch.labels
        return unrolled_utility_gradient(self.view.model, x, y, *self.dval, step=self.run.training_step())


def rows(device: torch.device, turns: int) -> list[Row]:
    return [*_moves(device, turns), *_whole_steps(device, turns)]


def _moves(device: torch.device, turns: int) -> list[Row]:
    moves = Moves(device)
    influence = f"influence,beta=0,{_SOLVER}"
    iterations = moves.solver_iterations(influence)
    counted: dict[str, tuple[Callable[[], object], Count]] = {}
    for k, n in _STEPS.items():
        attack, defense = f"level-{k} attack, n = {n}", f"level-{k} defense, n = {n}"
        counted[attack] = (moves.of("attackers", f"level-{k},steps={n},beta=0"), Count(2 * n - 1))
        counted[defense] = (moves.of("defenders", f"level-{k},steps={n}"), Count(n))
    counted |= {
        "level-2-closed-form attack": (
            moves.of("attackers", "level-2-closed-form,beta=0"),
            Count(products=1, batch_gradients=1),
        ),
        f"influence attack, {iterations} products": (
            moves.of("attackers", influence),
            Count(products=iterations),
        ),
        f"optimal-contraction attack, {iterations} products": (
            moves.of("attackers", f"optimal-contraction,beta=0,{_SOLVER}"),
            Count(products=iterations, batch_gradients=1),
        ),
        "exact utility gradient, v not known": (moves.exact, Count(gradients=1, batch_gradients=1)),
    }
    candidates = moves.derivatives() | {name: move for name, (move, _) in counted.items()}
    times = interleaved(candidates, device, turns, _clock(device))
    ratios = {kind: times[kind] / times[_LEVEL_1] for kind in ("gradients", "products")}
    return [
        Row(
            "    one validation gradient, in level-1 attacks",
            f"{ratios['gradients']:.2f}× ({3 * VALIDATION / (4 * BATCH):.2f}× by forward passes)",
        ),
        Row(
            "    one Hessian product, in level-1 attacks",
            f"{ratios['products']:.2f}× ({6 * VALIDATION / (4 * BATCH):.2f}× by forward passes)",
        ),
        *(
            _against(f"(f) {name}", times[name], count.seconds(times), times[_LEVEL_1])
            for name, (_, count) in counted.items()
        ),
    ]


def _whole_steps(device: torch.device, turns: int) -> list[Row]:
    players = {k: f"level-{k},steps={n}" for k, n in _STEPS.items()}
    times = interleaved(
        {
            _LEVEL_1: Moves(device).derivatives()[_LEVEL_1],
            "level-1 step": Ours(device),
            **{player: Ours(device, player, player) for player in players.values()},
        },
        device,
        turns,
        _clock(device),
    )
    level_1 = times["level-1 step"]
    return [
        _against(
            f"(g) level-{k} against level-{k} step",
            times[players[k]],
            level_1 + (2 * n - 1 + n - 2) * times[_LEVEL_1],
            level_1,
        )
        for k, n in _STEPS.items()
    ]


def _clock(device: torch.device) -> Callable[[], float]:
    return time.process_time if device.type == "cpu" else time.perf_counter


def _against(name: str, seconds: float, counted: float, level_1: float) -> Row:
    return Row(
        name,
        f"{seconds / level_1:.2f}× level 1",
        f"{counted / level_1:.2f}× as counted, within {_NEAR:.0%}",
        abs(seconds / counted - 1) <= _NEAR,
    )
