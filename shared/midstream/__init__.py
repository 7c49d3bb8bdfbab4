"""midstream: training data attacked, and defended, in flight.

Everything a plug-in or a training loop needs is importable from here.
"""

from midstream.budget import Budget
from midstream.gradients import (
    Gradient,
    mixed_derivative,
    mixed_derivative_by_double_backward,
    validation_gradient,
)
from midstream.loop import Defender
from midstream.loss import Loss, cross_entropy
from midstream.momentum import MomentumHistory
from midstream.pixels import pixels
from midstream.players import Batch, Player, View
from midstream.strategies import level_0, level_1_attack, level_1_defense
from midstream.utility import utility

__all__ = [
    "Batch",
    "Budget",
    "Defender",
    "Gradient",
    "Loss",
    "MomentumHistory",
    "Player",
    "View",
    "cross_entropy",
    "level_0",
    "level_1_attack",
    "level_1_defense",
    "mixed_derivative",
    "mixed_derivative_by_double_backward",
    "pixels",
    "utility",
    "validation_gradient",
]
