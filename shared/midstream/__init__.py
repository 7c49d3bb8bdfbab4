"""midstream: training data attacked, and defended, in flight.

Everything a plug-in or a training loop needs is importable from here.
"""

from midstream.budget import Budget
from midstream.check_derivatives import check_derivatives
from midstream.course import Course, Ground
from midstream.functional import DerivativeError, RandomLayersWarning
from midstream.gradients import (
    Gradient,
    mixed_derivative,
    mixed_derivative_by_double_backward,
    validation_gradient,
)
from midstream.hessian import conjugate_gradients, hessian_vector_product
from midstream.level_k import level_k_attack, level_k_defense, steps_by_rule
from midstream.loop import Defender
from midstream.loss import Loss, cross_entropy
from midstream.momentum import MomentumHistory
from midstream.orders import Order
from midstream.pixels import pixels
from midstream.players import Batch, Player, View
from midstream.rates import conversion_rate, evasion_rate
from midstream.second_order import influence_vector, level_2_vector, optimal_contraction_vector
from midstream.strategies import level_0, level_1_attack, level_1_defense
from midstream.training_step import Adam, Sgd, TrainingStep, training_step
from midstream.unrolled import unrolled_utility_gradient
from midstream.utility import utility

__all__ = [
    "Adam",
    "Batch",
    "Budget",
    "Course",
    "Defender",
    "DerivativeError",
    "Gradient",
    "Ground",
    "Loss",
    "MomentumHistory",
    "Order",
    "Player",
    "RandomLayersWarning",
    "Sgd",
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
