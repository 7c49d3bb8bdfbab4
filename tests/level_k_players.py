"""Both players of level k on the problems of `cases`, with their settings in one place."""

from dataclasses import dataclass

from cases import Problem
from torch import Tensor

from midstream import Budget, Gradient, level_k_attack, level_k_defense, validation_gradient
from midstream.mathematics.budget import Norm
from midstream.mathematics.level_k import INFINITE

RATE = 0.1


@dataclass(frozen=True)
class Play:
    """A player of level k and all that it depends on."""

    norm: Norm = "l2"
    epsilon: float = 0.5
    opponent: float = 0.8
    steps: int = 3
    step_size: float = INFINITE
    opponent_step_size: float = INFINITE
    share: float = INFINITE
    rate: float = RATE

    def attack(self, p: Problem, v: Gradient | None = None) -> Tensor:
        return level_k_attack(
            p.model,
            p.inputs,
            p.labels,
            validation_gradient=gradient(p) if v is None else v,
            budget=Budget(self.epsilon, self.norm),
            opponent=Budget(self.opponent, self.norm),
            steps=self.steps,
            learning_rate=self.rate,
            step_size=self.step_size,
            opponent_step_size=self.opponent_step_size,
            share=self.share,
        )

    def defend(self, p: Problem, v: Gradient | None = None) -> Tensor:
        return level_k_defense(
            p.model,
            p.inputs,
            p.labels,
            validation_gradient=gradient(p) if v is None else v,
            budget=Budget(self.epsilon, self.norm),
            steps=self.steps,
            learning_rate=self.rate,
            step_size=self.step_size,
            share=self.share,
        )


def gradient(p: Problem) -> Gradient:
    return validation_gradient(p.model, p.validation_inputs, p.validation_labels)
