"""midstream: a testbed where training data is attacked and defended in flight.

Everything that a plug-in, a training loop or a notebook needs can be imported from here. A name is loaded
when it is first used, so that `import midstream` and `midstream --help` need not wait for torch.
"""

from typing import TYPE_CHECKING

from midstream.on_first_use import on_first_use

if TYPE_CHECKING:
    from midstream.command.api.game import Game
    from midstream.command.api.play import play
    from midstream.command.api.result import GameResult
    from midstream.command.games.pipeline import GameStep
    from midstream.command.results.reading import read_results
    from midstream.command.results.results import Results
    from midstream.command.sweep.sweeping import sweep
    from midstream.defences.loop import Defender
    from midstream.defences.own_loop.report import DefenderReport
    from midstream.errors import MidstreamError
    from midstream.mathematics.budget import Budget
    from midstream.mathematics.derivatives.batch_gradient import batch_gradient
    from midstream.mathematics.derivatives.batch_statistics import use_batch_statistics
    from midstream.mathematics.derivatives.checking.check import check_derivatives
    from midstream.mathematics.derivatives.functional import DerivativeError, RandomLayersWarning
    from midstream.mathematics.derivatives.gradients import (
        Gradient,
        mixed_derivative,
        mixed_derivative_by_double_backward,
        validation_gradient,
    )
    from midstream.mathematics.derivatives.hessian import conjugate_gradients, hessian_vector_product
    from midstream.mathematics.derivatives.orders import Order
    from midstream.mathematics.inputs.pixels import pixels
    from midstream.mathematics.level_1 import level_0, level_1_attack, level_1_defense
    from midstream.mathematics.level_k import level_k_attack, level_k_defense
    from midstream.mathematics.level_k_rules import steps_by_rule
    from midstream.mathematics.loss import Loss, cross_entropy
    from midstream.mathematics.momentum import MomentumHistory
    from midstream.mathematics.optimizers.live_step import training_step
    from midstream.mathematics.optimizers.training_step import Adam, Grouped, Sgd, TrainingStep
    from midstream.mathematics.rates import conversion_rate, evasion_rate
    from midstream.mathematics.second_order import (
        influence_vector,
        level_2_vector,
        optimal_contraction_vector,
    )
    from midstream.mathematics.unrolled import unrolled_utility_gradient
    from midstream.mathematics.utility import utility
    from midstream.players.checking import Checker, Gate
    from midstream.players.course import Course, Ground
    from midstream.players.interface import Batch, Player, View
    from midstream.players.scores.suspicion import Suspicion, among
    from midstream.run.datasets import Dataset, Examples, Source

__all__ = [
    "Adam",
    "Batch",
    "Budget",
    "Checker",
    "Course",
    "Dataset",
    "Defender",
    "DefenderReport",
    "DerivativeError",
    "Examples",
    "Game",
    "GameResult",
    "GameStep",
    "Gate",
    "Gradient",
    "Ground",
    "Grouped",
    "Loss",
    "MidstreamError",
    "MomentumHistory",
    "Order",
    "Player",
    "RandomLayersWarning",
    "Results",
    "Sgd",
    "Source",
    "Suspicion",
    "TrainingStep",
    "View",
    "among",
    "batch_gradient",
    "check_derivatives",
    "conjugate_gradients",
    "conversion_rate",
    "cross_entropy",
    "evasion_rate",
    "hessian_vector_product",
    "influence_vector",
    "level_0",
    "level_1_attack",
    "level_1_defense",
    "level_2_vector",
    "level_k_attack",
    "level_k_defense",
    "mixed_derivative",
    "mixed_derivative_by_double_backward",
    "optimal_contraction_vector",
    "pixels",
    "play",
    "read_results",
    "steps_by_rule",
    "sweep",
    "training_step",
    "unrolled_utility_gradient",
    "use_batch_statistics",
    "utility",
    "validation_gradient",
]

_HOMES = {
    "midstream.command.api.game": ("Game",),
    "midstream.command.api.play": ("play",),
    "midstream.command.api.result": ("GameResult",),
    "midstream.command.games.pipeline": ("GameStep",),
    "midstream.command.results.reading": ("read_results",),
    "midstream.command.results.results": ("Results",),
    "midstream.command.sweep.sweeping": ("sweep",),
    "midstream.defences.loop": ("Defender",),
    "midstream.defences.own_loop.report": ("DefenderReport",),
    "midstream.errors": ("MidstreamError",),
    "midstream.mathematics.budget": ("Budget",),
    "midstream.mathematics.derivatives.batch_gradient": ("batch_gradient",),
    "midstream.mathematics.derivatives.batch_statistics": ("use_batch_statistics",),
    "midstream.mathematics.derivatives.checking.check": ("check_derivatives",),
    "midstream.mathematics.derivatives.functional": ("DerivativeError", "RandomLayersWarning"),
    "midstream.mathematics.derivatives.gradients": (
        "Gradient",
        "mixed_derivative",
        "mixed_derivative_by_double_backward",
        "validation_gradient",
    ),
    "midstream.mathematics.derivatives.hessian": ("conjugate_gradients", "hessian_vector_product"),
    "midstream.mathematics.derivatives.orders": ("Order",),
    "midstream.mathematics.level_1": ("level_0", "level_1_attack", "level_1_defense"),
    "midstream.mathematics.level_k": ("level_k_attack", "level_k_defense"),
    "midstream.mathematics.level_k_rules": ("steps_by_rule",),
    "midstream.mathematics.optimizers.live_step": ("training_step",),
    "midstream.mathematics.loss": ("Loss", "cross_entropy"),
    "midstream.mathematics.momentum": ("MomentumHistory",),
    "midstream.mathematics.inputs.pixels": ("pixels",),
    "midstream.mathematics.rates": ("conversion_rate", "evasion_rate"),
    "midstream.mathematics.second_order": (
        "influence_vector",
        "level_2_vector",
        "optimal_contraction_vector",
    ),
    "midstream.mathematics.optimizers.training_step": ("Adam", "Grouped", "Sgd", "TrainingStep"),
    "midstream.mathematics.unrolled": ("unrolled_utility_gradient",),
    "midstream.mathematics.utility": ("utility",),
    "midstream.players.checking": ("Checker", "Gate"),
    "midstream.players.course": ("Course", "Ground"),
    "midstream.players.interface": ("Batch", "Player", "View"),
    "midstream.players.scores.suspicion": ("Suspicion", "among"),
    "midstream.run.datasets": ("Dataset", "Examples", "Source"),
}

if not TYPE_CHECKING:
    __getattr__ = on_first_use(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
