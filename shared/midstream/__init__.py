"""midstream: a testbed where training data is attacked and defended in flight.

Everything that a plug-in, a training loop or a notebook needs can be imported from here. Each name is loaded
when it is first used, so that `import midstream` itself is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from midstream.command.api.play import play
    from midstream.command.api.result import GameResult
    from midstream.defences.loop import Defender
    from midstream.errors import MidstreamError
    from midstream.mathematics.budget import Budget
    from midstream.mathematics.derivatives.check import check_derivatives
    from midstream.mathematics.derivatives.functional import (
        DerivativeError,
        RandomLayersWarning,
    )
    from midstream.mathematics.derivatives.gradients import (
        Gradient,
        mixed_derivative,
        mixed_derivative_by_double_backward,
        validation_gradient,
    )
    from midstream.mathematics.derivatives.hessian import (
        conjugate_gradients,
        hessian_vector_product,
    )
    from midstream.mathematics.derivatives.orders import Order
    from midstream.mathematics.level_1 import (
        level_0,
        level_1_attack,
        level_1_defense,
    )
    from midstream.mathematics.level_k import (
        level_k_attack,
        level_k_defense,
    )
    from midstream.mathematics.level_k_rules import steps_by_rule
    from midstream.mathematics.live_step import training_step
    from midstream.mathematics.loss import Loss, cross_entropy
    from midstream.mathematics.momentum import MomentumHistory
    from midstream.mathematics.pixels import pixels
    from midstream.mathematics.rates import conversion_rate, evasion_rate
    from midstream.mathematics.second_order import (
        influence_vector,
        level_2_vector,
        optimal_contraction_vector,
    )
    from midstream.mathematics.training_step import (
        Adam,
        Grouped,
        Sgd,
        TrainingStep,
    )
    from midstream.mathematics.unrolled import unrolled_utility_gradient
    from midstream.mathematics.utility import utility
    from midstream.players.course import Course, Ground
    from midstream.players.interface import Batch, Player, View
    from midstream.run.datasets import Dataset, Examples, Source

_PLACES = {
    "Adam": "midstream.mathematics.training_step",
    "Batch": "midstream.players.interface",
    "Budget": "midstream.mathematics.budget",
    "Course": "midstream.players.course",
    "Dataset": "midstream.run.datasets",
    "Defender": "midstream.defences.loop",
    "DerivativeError": "midstream.mathematics.derivatives.functional",
    "Examples": "midstream.run.datasets",
    "GameResult": "midstream.command.api.result",
    "Gradient": "midstream.mathematics.derivatives.gradients",
    "Ground": "midstream.players.course",
    "Grouped": "midstream.mathematics.training_step",
    "Loss": "midstream.mathematics.loss",
    "MidstreamError": "midstream.errors",
    "MomentumHistory": "midstream.mathematics.momentum",
    "Order": "midstream.mathematics.derivatives.orders",
    "Player": "midstream.players.interface",
    "RandomLayersWarning": "midstream.mathematics.derivatives.functional",
    "Sgd": "midstream.mathematics.training_step",
    "Source": "midstream.run.datasets",
    "TrainingStep": "midstream.mathematics.training_step",
    "View": "midstream.players.interface",
    "check_derivatives": "midstream.mathematics.derivatives.check",
    "conjugate_gradients": "midstream.mathematics.derivatives.hessian",
    "conversion_rate": "midstream.mathematics.rates",
    "cross_entropy": "midstream.mathematics.loss",
    "evasion_rate": "midstream.mathematics.rates",
    "hessian_vector_product": "midstream.mathematics.derivatives.hessian",
    "influence_vector": "midstream.mathematics.second_order",
    "level_0": "midstream.mathematics.level_1",
    "level_1_attack": "midstream.mathematics.level_1",
    "level_1_defense": "midstream.mathematics.level_1",
    "level_2_vector": "midstream.mathematics.second_order",
    "level_k_attack": "midstream.mathematics.level_k",
    "level_k_defense": "midstream.mathematics.level_k",
    "mixed_derivative": "midstream.mathematics.derivatives.gradients",
    "mixed_derivative_by_double_backward": "midstream.mathematics.derivatives.gradients",
    "optimal_contraction_vector": "midstream.mathematics.second_order",
    "pixels": "midstream.mathematics.pixels",
    "play": "midstream.command.api.play",
    "steps_by_rule": "midstream.mathematics.level_k_rules",
    "training_step": "midstream.mathematics.live_step",
    "unrolled_utility_gradient": "midstream.mathematics.unrolled",
    "utility": "midstream.mathematics.utility",
    "validation_gradient": "midstream.mathematics.derivatives.gradients",
}

__all__ = [
    "Adam",
    "Batch",
    "Budget",
    "Course",
    "Dataset",
    "Defender",
    "DerivativeError",
    "Examples",
    "GameResult",
    "Gradient",
    "Ground",
    "Grouped",
    "Loss",
    "MidstreamError",
    "MomentumHistory",
    "Order",
    "Player",
    "RandomLayersWarning",
    "Sgd",
    "Source",
    "TrainingStep",
    "View",
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
    "steps_by_rule",
    "training_step",
    "unrolled_utility_gradient",
    "utility",
    "validation_gradient",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'midstream' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *_PLACES]
