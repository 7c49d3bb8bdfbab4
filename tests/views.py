"""What an attacker sees of a small model, for the tests of players."""

from cases import Problem

from midstream import (
    Budget,
    View,
    cross_entropy,
    validation_gradient,
)

BUDGET = Budget(epsilon=0.5)

RATE = 0.1


def view(p: Problem, budget: Budget = BUDGET) -> View:
    return View(
        model=p.model,
        parameters_version=0,
        loss=cross_entropy,
        learning_rate=RATE,
        validation_inputs=p.validation_inputs,
        validation_labels=p.validation_labels,
        budget=budget,
        seed=0,
        role="attacker",
        gradient_source=lambda: validation_gradient(p.model, p.validation_inputs, p.validation_labels),
    )
