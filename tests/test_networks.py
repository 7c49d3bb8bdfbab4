"""The paper's networks: their size, their shapes, and the order of pooling and ReLU."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from midstream.networks.classifiers import (
    Shape,
    cifar_cnn,
    digits_cnn,
    logistic,
    mnist_cnn,
    photo_cnn,
    small_cnn,
)

Factory = Callable[[Shape, int], nn.Module]

NETWORKS: list[tuple[Factory, Shape, int]] = [
    (logistic, (1, 28, 28), 2),
    (digits_cnn, (1, 8, 8), 10),
    (small_cnn, (1, 28, 28), 2),
    (mnist_cnn, (1, 28, 28), 10),
    (cifar_cnn, (3, 32, 32), 10),
    (photo_cnn, (3, 256, 256), 2),
]
PARAMETERS = [1_570, 13_706, 15_122, 92_330, 875_402, 1_095_426]
every_network = pytest.mark.parametrize(
    ("factory", "shape", "classes"), NETWORKS, ids=[row[0].__name__ for row in NETWORKS]
)


@pytest.mark.parametrize(("network", "count"), list(zip(NETWORKS, PARAMETERS, strict=True)), ids=PARAMETERS)
def test_the_number_of_parameters(network: tuple[Factory, Shape, int], count: int) -> None:
    factory, shape, classes = network
    parameters = list(factory(shape, classes).parameters())
    assert sum(p.numel() for p in parameters) == count
    assert all(p.requires_grad for p in parameters)


def test_the_poolings_and_strides_of_the_paper() -> None:
    cifar, photo = (list(f(s, c).children()) for f, s, c in NETWORKS[-2:])
    assert [layer.kernel_size for layer in cifar if isinstance(layer, nn.AvgPool2d)] == [3]
    assert [layer.kernel_size for layer in photo if isinstance(layer, nn.AvgPool2d)] == [7]
    strides = [layer.stride for layer in photo if isinstance(layer, nn.Conv2d)]
    assert strides == [(4, 4), (3, 3), (2, 2), (1, 1)]


@every_network
def test_one_logit_for_each_class(factory: Factory, shape: Shape, classes: int) -> None:
    assert factory(shape, classes)(torch.rand(2, *shape)).shape == (2, classes)
    assert factory(shape, classes + 3)(torch.rand(2, *shape)).shape == (2, classes + 3)


@every_network
def test_examples_do_not_know_each_other(factory: Factory, shape: Shape, classes: int) -> None:
    model, x = factory(shape, classes), torch.rand(3, *shape)
    assert torch.allclose(model(x)[1:2], model(x[1:2]), atol=1e-5)
    assert not list(model.buffers())


@pytest.mark.parametrize(
    ("factory", "shape"),
    [
        (mnist_cnn, (3, 32, 32)),
        (digits_cnn, (1, 28, 28)),
        (small_cnn, (3, 32, 32)),
        (photo_cnn, (3, 224, 224)),
        (cifar_cnn, (1, 40, 48)),
    ],
)
def test_other_image_sizes_and_channels(factory: Factory, shape: Shape) -> None:
    assert factory(shape, 5)(torch.rand(1, *shape)).shape == (1, 5)


@pytest.mark.parametrize(
    ("factory", "shape"),
    [(digits_cnn, (1, 4, 4)), (mnist_cnn, (1, 8, 8)), (cifar_cnn, (3, 8, 8)), (photo_cnn, (3, 64, 64))],
)
def test_images_that_are_too_small(factory: Factory, shape: Shape) -> None:
    with pytest.raises(ValueError, match=r"images of shape \(\d, \d+, \d+\) are too small for this network"):
        factory(shape, 10)


def test_every_docstring_counts_its_parameters() -> None:
    for (factory, _, _), count in zip(NETWORKS, PARAMETERS, strict=True):
        assert f"{count:,} param" in (factory.__doc__ or "")


def test_logistic_regression_is_one_linear_layer() -> None:
    model, x = logistic((2, 3, 4), 5), torch.rand(6, 2, 3, 4)
    (layer,) = (module for module in model.modules() if list(module.parameters(recurse=False)))
    assert isinstance(layer, nn.Linear)
    assert torch.allclose(model(x), x.flatten(1) @ layer.weight.T + layer.bias)


def test_building_a_network_draws_only_its_weights() -> None:
    torch.manual_seed(3)
    first = digits_cnn((1, 8, 8), 10)
    torch.manual_seed(3)
    second = digits_cnn((1, 8, 8), 10)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def relu_first(model: nn.Module) -> nn.Sequential:
    """Return the same layers with each ReLU moved in front of the max-pooling before it."""
    layers = list(model.children())
    for i, layer in enumerate(layers[:-1]):
        if isinstance(layer, nn.MaxPool2d):
            assert isinstance(layers[i + 1], nn.ReLU)
            layers[i], layers[i + 1] = layers[i + 1], layer
    return nn.Sequential(*layers)


@pytest.mark.parametrize(("factory", "shape", "classes"), NETWORKS[1:5])
def test_pooling_and_relu_commute_to_the_last_bit(factory: Factory, shape: Shape, classes: int) -> None:
    torch.manual_seed(0)
    model = factory(shape, classes)
    other = relu_first(model)
    assert [type(layer) for layer in other] != [type(layer) for layer in model.children()]
    # A coarse grid of values, and a constant corner, give the poolings ties to break.
    x = (torch.rand(4, *shape) * 4).round() / 4
    x[:, :, : shape[1] // 2, : shape[2] // 2] = 0.0
    x.requires_grad_()
    y = torch.arange(4) % classes
    outputs, gradients = [], []
    for network in (model, other):
        outputs.append(network(x))
        loss = nn.functional.cross_entropy(outputs[-1], y)
        gradients.append(torch.autograd.grad(loss, [x, *model.parameters()]))
    assert torch.equal(outputs[0], outputs[1])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
