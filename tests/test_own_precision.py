"""An order that is right in double precision is compared with itself in single, away from kinks."""

import pytest
import torch
from foreign_layers import Do
from torch import Tensor, nn

from midstream import DerivativeError, check_derivatives, cross_entropy
from midstream.mathematics.derivatives.checking.distances import far
from midstream.mathematics.derivatives.checking.generic_point import GenericPoint, Second, computable_point
from midstream.mathematics.derivatives.checking.own_precision import off_in_own_precision

X, Y = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2])


def of_inputs(one: Second, other: Second) -> float:
    return far(one.by_inputs, other.by_inputs)


def off(point: GenericPoint, own: GenericPoint) -> float | None:
    found = point.second("double-backward")
    return off_in_own_precision("double-backward", point, found, own, tolerance=1e-2, far=of_inputs)


def wrong_in_single(x: Tensor) -> Tensor:
    """Return x² with its own gradient, and in single precision with another second derivative."""
    return x.square() + (x.dtype == torch.float32) * (x - x.detach()).square()


def network(layer: nn.Module) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(5, 4), layer, nn.Linear(4, 3))


def test_a_point_that_rounding_moves_across_a_kink_is_left_for_another() -> None:
    point, _ = computable_point(network(nn.Tanh()), cross_entropy, X, Y)
    assert off(point, point.rounded()) is None
    across = point.elsewhere(9).rounded()  # other gradients and other second derivatives, as beyond a kink
    assert of_inputs(across.second("double-backward"), point.second("double-backward")) > 1e-2
    assert off(point, across) is None


def test_a_kernel_that_is_wrong_in_single_precision_is_refused() -> None:
    model = network(Do(wrong_in_single))
    point, _ = computable_point(model, cross_entropy, X, Y)
    found = off(point, point.rounded())
    assert found is not None
    assert found > 0.1
    with pytest.raises(DerivativeError, match=r"is off by .* in torch.float32"):
        check_derivatives(model, X, Y)
