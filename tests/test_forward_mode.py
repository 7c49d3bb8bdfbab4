"""Threads that differentiate at once, as the runs of one server do, do not disturb each other."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from midstream.mathematics.derivatives.orders import ORDERS, Order, mixed

THREADS, TIMES = 3, 60


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(20, 20)
        self.last = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.last(torch.tanh(self.inner(x)) + x)
        return result


@pytest.mark.parametrize("order", ORDERS)
def test_threads_differentiate_at_once(order: Order) -> None:
    models = [Residual().double() for _ in range(THREADS)]
    x, labels = torch.randn(30, 20).double(), torch.randint(5, (30,))

    def derivative(model: nn.Module) -> Tensor:
        at = {name: value.detach() for name, value in model.named_parameters()}

        def loss(theta: Mapping[str, Tensor], z: Tensor) -> Tensor:
            return F.cross_entropy(functional_call(model, dict(theta), (z,)), labels, reduction="sum")

        return mixed(order, loss, at, at, x)

    alone = [derivative(model) for model in models]
    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda model: [derivative(model) for _ in range(TIMES)], models)
        assert all(
            torch.allclose(one, right) for many, right in zip(found, alone, strict=True) for one in many
        )
