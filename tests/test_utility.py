"""The utility against a step that torch's own SGD takes."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from cases import BATCH_NORM, CASES, NAMES, Case

from midstream import utility


@pytest.mark.parametrize("learning_rate", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_utility_is_the_change_of_the_loss_over_one_sgd_step(case: Case, learning_rate: float) -> None:
    p = case.build()

    def validation_loss(model: torch.nn.Module) -> float:
        with torch.no_grad():
            return float(F.cross_entropy(model(p.validation_inputs), p.validation_labels, reduction="sum"))

    stepped = deepcopy(p.model)
    batch_loss = F.cross_entropy(stepped(p.inputs), p.labels, reduction="sum")
    batch_loss.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(stepped.parameters(), lr=learning_rate).step()

    value = utility(
        p.model, p.inputs, p.labels, p.validation_inputs, p.validation_labels, learning_rate=learning_rate
    )
    assert value.dim() == 0
    assert float(value) == pytest.approx(validation_loss(stepped) - validation_loss(p.model), abs=1e-11)
    assert (float(value) == 0) == (learning_rate == 0)


def test_examples_that_batch_norm_couples_are_refused() -> None:
    p = BATCH_NORM.build()
    p.model.train()
    with pytest.raises(ValueError, match="batch norm over the statistics of its batch"):
        utility(p.model, p.inputs, p.labels, p.validation_inputs, p.validation_labels, learning_rate=0.1)
