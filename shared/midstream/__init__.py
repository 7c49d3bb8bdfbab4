"""midstream: a testbed where training data is attacked and defended in flight.

Everything that a plug-in or a training loop needs can be imported from here.
"""

from midstream.defences.loop import Defender
from midstream.errors import MidstreamError
from midstream.mathematics.budget import Budget
from midstream.mathematics.derivatives.check import check_derivatives
from midstream.mathematics.derivatives.functional import DerivativeError, RandomLayersWarning
from midstream.mathematics.derivatives.gradients import (
    Gradient,
    mixed_derivative,
    mixed_derivative_by_double_backward,
    validation_gradient,
)
from midstream.mathematics.derivatives.hessian import conjugate_gradients, hessian_vector_product
from midstream.mathematics.derivatives.orders import Order
from midstream.mathematics.level_1 import level_0, level_1_attack, level_1_defense
from midstream.mathematics.level_k import level_k_attack, level_k_defense
from midstream.mathematics.level_k_rules import steps_by_rule
from midstream.mathematics.live_step import training_step
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.momentum import MomentumHistory
from midstream.mathematics.pixels import pixels
from midstream.mathematics.rates import conversion_rate, evasion_rate
from midstream.mathematics.second_order import influence_vector, level_2_vector, optimal_contraction_vector
from midstream.mathematics.training_step import Adam, Grouped, Sgd, TrainingStep
from midstream.mathematics.unrolled import unrolled_utility_gradient
from midstream.mathematics.utility import utility
from midstream.players.course import Course, Ground
from midstream.players.interface import Batch, Player, View
from midstream.run.datasets import Dataset, Examples, Source

__all__ = [
    "Adam",
    "Batch",
    "Budget",
    "Course",
    "Dataset",
    "Defender",
    "DerivativeError",
    "Examples",
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
    "steps_by_rule",
    "training_step",
    "unrolled_utility_gradient",
    "utility",
    "validation_gradient",
]
