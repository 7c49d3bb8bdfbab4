"""Stacks of torch's own layers: the derivatives written out are autograd's, and nothing else is a stack."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils._python_dispatch import TorchDispatchMode

from midstream import mixed_derivative, validation_gradient
from midstream.mathematics.derivatives.orders import ORDERS
from midstream.mathematics.stacks.image_gradient import image_gradient, suits
from midstream.mathematics.stacks.recognised import stack_of
from midstream.networks import classifiers

CLASSES = 3


def network(factory: Callable[..., nn.Module], *shape: int) -> Callable[[], nn.Module]:
    return lambda: factory(shape, CLASSES)


def convolved(*layers: nn.Module, features: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, CLASSES))


STACKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "logistic": (network(classifiers.logistic, 1, 4, 4), (1, 4, 4)),
    "digits": (network(classifiers.digits_cnn, 1, 8, 8), (1, 8, 8)),
    "mnist": (network(classifiers.mnist_cnn, 1, 28, 28), (1, 28, 28)),
    "dropout": (lambda: classifiers.digits_cnn((1, 8, 8), CLASSES, dropout=0.5).eval(), (1, 8, 8)),
    "relu at the inputs": (lambda: nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(16, CLASSES)), (1, 4, 4)),
    "no bias": (
        convolved(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.Conv2d(2, 2, 3, bias=False), features=32),
        (1, 8, 8),
    ),
    "strides, dilation, groups": (
        convolved(
            nn.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2),
            nn.ReLU(),
            nn.Conv2d(4, 6, 2, groups=2),
            nn.Identity(),
            features=6 * 3 * 5,
        ),
        (2, 8, 8),
    ),
    "windows that overlap": (
        convolved(nn.Conv2d(1, 4, 3), nn.MaxPool2d(3, 2, 1, ceil_mode=True), nn.ReLU(), features=4 * 4 * 4),
        (1, 8, 8),
    ),
    "windows with holes": (
        convolved(nn.Conv2d(1, 4, 1), nn.MaxPool2d(2, 1, dilation=2), nn.ReLU(), features=4 * 6 * 6),
        (1, 8, 8),
    ),
    "windows given as lists": (
        convolved(nn.Conv2d(1, 2, 1), nn.MaxPool2d([1, 2]), nn.AvgPool2d([2], (2, 1)), features=2 * 4 * 3),  # type: ignore[arg-type]
        (1, 8, 8),
    ),
    "means": (
        convolved(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.ReLU(),
            nn.AvgPool2d(3, 2, 1, count_include_pad=False, ceil_mode=True),
            nn.AvgPool2d(2, divisor_override=3),
            features=4 * 2 * 2,
        ),
        (1, 8, 8),
    ),
    "two linear layers": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Sequential(nn.Linear(7, CLASSES))),
        (5,),
    ),
}

every_stack = pytest.mark.parametrize("name", STACKS)


def built(name: str, *, channels_last: bool) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a model and a batch with blank parts, where a pooling finds several equal entries."""
    factory, shape = STACKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, x = factory().double(), torch.rand(5, *shape, dtype=torch.float64)
        for layer in model.modules():  # those above were drawn when this file was read
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                layer.reset_parameters()
    if channels_last and len(shape) == 3:
        model = model.to(memory_format=torch.channels_last)
    if len(shape) == 3:
        x[:, :, :, : shape[-1] // 2] = 0
    return model, x, torch.tensor([0, 1, 2, 1, 0])


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-12) -> None:
    assert expected.norm() > 0
    assert actual.shape == expected.shape
    assert (actual - expected).norm() <= tolerance * expected.norm()


@every_stack
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_validation_gradient_is_autograds(name: str, channels_last: bool) -> None:
    model, x, y = built(name, channels_last=channels_last)
    assert stack_of(model, x, y) is not None
    v = validation_gradient(model, x, y, chunk_size=2)
    named = dict(model.named_parameters())
    loss = F.cross_entropy(model(x), y, reduction="sum")
    assert list(v) == list(named)
    for key, expected in zip(named, torch.autograd.grad(loss, list(named.values())), strict=True):
        close(v[key], expected)
        assert v[key].stride() == named[key].stride()


@every_stack
@pytest.mark.parametrize("channels_last", [False, True])
def test_the_mixed_derivative_is_autograds_in_every_order(name: str, channels_last: bool) -> None:
    model, x, y = built(name, channels_last=channels_last)
    u = {key: torch.rand_like(value) - 0.5 for key, value in model.named_parameters()}
    stack = stack_of(model, x, y)
    assert stack is not None
    with torch.no_grad():
        found = stack.mixed(x, y, u)
    for order in ORDERS:
        close(found, mixed_derivative(model, x, y, u, order=order))


def test_the_mixed_derivative_of_a_stack_is_the_one_written_out() -> None:
    model, x, y = built("digits", channels_last=True)
    v = validation_gradient(model, x, y)
    stack = stack_of(model, x, y)
    assert stack is not None
    with torch.no_grad():
        assert torch.equal(mixed_derivative(model, x, y, v), stack.mixed(x, y, v))
    parts = mixed_derivative(model, x, y, v, chunk_size=2)
    close(parts, mixed_derivative(model, x, y, v, order="double-backward"))


@pytest.mark.parametrize("of", [torch.float64, torch.bfloat16])
def test_a_vector_of_other_numbers_is_taken_in_those_of_the_model(of: torch.dtype) -> None:
    model, x, y = built("digits", channels_last=False)
    model, x = model.float(), x.float()
    u = {key: torch.rand_like(value, dtype=of) for key, value in model.named_parameters()}
    assert stack_of(model, x, y) is not None
    close(mixed_derivative(model, x, y, u), mixed_derivative(model, x, y, u, order=ORDERS[0]), 1e-5)


def test_a_label_that_cross_entropy_ignores_counts_for_nothing() -> None:
    model, x, y = built("digits", channels_last=True)
    v = validation_gradient(model, x, y)
    y[2] = -100
    found = mixed_derivative(model, x, y, v)
    close(found, mixed_derivative(model, x, y, v, order="double-backward"))
    assert not found[2].any()
    counted = validation_gradient(model, x[y >= 0], y[y >= 0])
    close(validation_gradient(model, x, y)["0.weight"], counted["0.weight"])


@pytest.mark.parametrize("label", [-1, CLASSES])
def test_a_label_that_is_no_class_is_refused(label: int) -> None:
    model, x, y = built("digits", channels_last=True)
    v = validation_gradient(model, x, y)
    y[4] = label
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        validation_gradient(model, x, y)
    with pytest.raises((IndexError, RuntimeError), match="out of bounds"):
        mixed_derivative(model, x, y, v)


def test_a_learned_example_keeps_its_digits_in_single_precision() -> None:
    model, x, y = built("logistic", channels_last=False)
    with torch.no_grad():
        dict(model.named_parameters())["1.bias"].copy_(
            torch.tensor([20.0, 0.0, 0.0])
        )  # p of class 0 rounds to 1
    x, y = x[:1], y[:1]
    u = {key: torch.rand_like(value) - 0.5 for key, value in model.named_parameters()}
    exact = mixed_derivative(model, x, y, u, order="double-backward")
    stack = stack_of(model.float(), x.float(), y)
    assert stack is not None
    with torch.no_grad():
        found = stack.mixed(x.float(), y, {key: value.float() for key, value in u.items()})
    close(found.double(), exact, 1e-5)


@pytest.mark.parametrize(
    ("factory", "shape"),
    [
        (classifiers.cifar_cnn, (3, 32, 32)),
        (classifiers.photo_cnn, (3, 256, 256)),
        (classifiers.small_cnn, (1, 28, 28)),
    ],
)
def test_every_network_of_the_paper_is_a_stack(
    factory: Callable[..., nn.Module], shape: tuple[int, ...]
) -> None:
    assert stack_of(factory(shape, 2), torch.zeros(1, *shape), torch.tensor([0])) is not None


class Twice(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Reversed(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return self[0](x.flip(1))  # type: ignore[no-any-return]


def hooked(model: nn.Sequential, kind: str) -> nn.Module:
    getattr(model[1], f"register_{kind}")(lambda *_: None)
    return model


def replaced(model: nn.Sequential) -> nn.Module:
    model[1].forward = torch.tanh
    return model


def without_a_layer(model: nn.Sequential) -> nn.Module:
    model.add_module("none", None)
    return model


def tied(model: nn.Sequential) -> nn.Module:
    first, last = model[0], model[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    last.weight = first.weight
    return model


def frozen(model: nn.Sequential) -> nn.Module:
    first = model[0]
    assert isinstance(first, nn.Linear)
    first.bias.requires_grad_(False)
    return model


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))


SHARED = nn.Linear(4, 4)
FLAT: dict[str, Callable[[], nn.Module]] = {
    "another layer": lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh()),
    "a subclass": lambda: nn.Sequential(nn.Linear(4, 4), Twice()),
    "a subclass of Sequential": lambda: Reversed(nn.Linear(4, 4)),
    "a forward hook": lambda: hooked(plain(), "forward_hook"),
    "a forward pre-hook": lambda: hooked(plain(), "forward_pre_hook"),
    "a backward hook": lambda: hooked(plain(), "full_backward_hook"),
    "a backward pre-hook": lambda: hooked(plain(), "full_backward_pre_hook"),
    "another forward": lambda: replaced(plain()),
    "a layer that is none": lambda: without_a_layer(plain()),
    "a parametrization": lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4))),
    "dropout in training": lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)),
    "a shared layer": lambda: nn.Sequential(SHARED, nn.ReLU(), SHARED),
    "a shared weight": lambda: tied(plain()),
    "a frozen parameter": lambda: frozen(plain()),
    "nothing to train": lambda: nn.Sequential(nn.ReLU()),
    "flat from the batch on": lambda: nn.Sequential(nn.Linear(4, 4), nn.Flatten(0)),
    "a parameter beside the layers": lambda: _with_a_parameter(plain()),
}


def _with_a_parameter(model: nn.Module) -> nn.Module:
    model.register_parameter("scale", nn.Parameter(torch.ones(())))
    return model


@pytest.mark.parametrize("name", FLAT)
def test_what_is_not_plainly_a_stack_is_left_to_autograd(name: str) -> None:
    assert stack_of(FLAT[name](), torch.rand(2, 4), torch.tensor([0, 1])) is None


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(1, 2, 3, padding="same"),
        nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular"),
        nn.MaxPool2d(2, return_indices=True),
        nn.LayerNorm(8),
    ],
)
def test_a_layer_with_a_setting_of_its_own_is_left_to_autograd(layer: nn.Module) -> None:
    model = nn.Sequential(layer, nn.Flatten(), nn.LazyLinear(CLASSES))
    assert stack_of(model, torch.rand(2, 1, 8, 8), torch.tensor([0, 1])) is None


def test_a_convolution_of_its_own_is_left_to_autograd() -> None:
    layer = nn.Conv2d(1, 2, 3)
    model = nn.Sequential(layer, nn.Flatten(), nn.Linear(72, CLASSES))
    x, y = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    assert stack_of(model, x, y) is not None
    vars(layer)["_conv_forward"] = lambda x, weight, bias: F.conv2d(x, 2 * weight, bias)
    assert stack_of(model, x, y) is None


def test_other_numbers_are_left_to_autograd() -> None:
    x, y = torch.rand(2, 4), torch.tensor([0, 1])
    assert stack_of(plain(), x, y) is not None
    assert stack_of(plain(), (255 * x).to(torch.uint8), y) is not None  # these become float32 pixels
    for inputs, labels in ((x.double(), y), (x.bfloat16(), y), (x, x), (x, y.int()), (x[:, None], y)):
        assert stack_of(plain(), inputs, labels) is None
    assert stack_of(plain().bfloat16(), x.bfloat16(), y) is None
    assert stack_of(plain().to("meta"), x.to("meta"), y) is None


def test_a_hook_on_all_modules_is_left_to_autograd() -> None:
    x, y = torch.rand(2, 4), torch.tensor([0, 1])
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert stack_of(plain(), x, y) is None
    finally:
        handle.remove()
    assert stack_of(plain(), x, y) is not None


def test_another_loss_is_left_to_autograd() -> None:
    model, x, y = built("digits", channels_last=False)

    def halved(outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels, reduction="sum") / 2

    whole = validation_gradient(model, x, y)
    close(2 * validation_gradient(model, x, y, loss=halved)["0.weight"], whole["0.weight"])
    half = mixed_derivative(model, x, y, whole, loss=halved)
    close(2 * half, mixed_derivative(model, x, y, whole))


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (4, 12)])
@pytest.mark.parametrize(
    ("kernel", "padding"), [((3, 3), (0, 0)), ((5, 5), (1, 1)), ((3, 2), (2, 0)), ((1, 1), (0, 0))]
)
def test_the_gradient_by_an_image_is_autograds(
    size: tuple[int, int], kernel: tuple[int, int], padding: tuple[int, int]
) -> None:
    drawn = torch.Generator().manual_seed(0)
    x = torch.rand(2, 1, *size, generator=drawn, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(3, 1, *kernel, generator=drawn, dtype=torch.float64)
    assert suits(weight, padding, x)
    z = F.conv2d(x, weight, padding=padding)
    g = torch.rand(z.shape, generator=drawn, dtype=torch.float64)
    expected = torch.autograd.grad(z, x, g)[0]
    close(image_gradient([g], [weight], padding), expected)
    close(image_gradient([g, -2 * g], [weight, weight], padding), -expected)


def test_a_convolution_over_other_images_keeps_torchs_gradient() -> None:
    weight = torch.rand(3, 1, 3, 3)
    assert not suits(weight, (0, 0), torch.rand(2, 1, 10, 8))
    assert not suits(weight, (3, 0), torch.rand(2, 1, 8, 8))
    assert not suits(torch.rand(3, 2, 3, 3), (0, 0), torch.rand(2, 2, 8, 8))


class Dispatched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Records the names of the operations that torch dispatches."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(str(function))
        return function(*args, **(kwargs or {}))


def test_the_derivatives_read_nothing_back_and_dispatch_few_operations() -> None:
    model, x, y = built("mnist", channels_last=True)
    v = validation_gradient(model, x, y)
    mixed_derivative(model, x, y, v)  # checks the model once
    with Dispatched() as gradient:
        validation_gradient(model, x, y)
    with Dispatched() as mixed:
        mixed_derivative(model, x, y, v)
    assert not [name for name in gradient.names + mixed.names if "local_scalar" in name or "nonzero" in name]
    assert len(gradient.names) <= 55
    assert len(mixed.names) <= 120
