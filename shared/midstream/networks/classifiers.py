"""The paper's networks (A.1.2), and a small one for 8×8 digits.

Each is a function `(input_shape, classes) -> nn.Module`. Any other function of this form can be named as
`package.module:function`, with its keyword arguments as options after the name. Pooling comes before the
ReLU: the two commute exactly, so the ReLU processes a quarter of the values.

`dropout` is the share of nodes that a training step drops after each hidden ReLU (paper A.2.3). The MNIST
network has three such layers, as in the paper. The CIFAR network has four; the paper counts five and does not
say where. With a share of 0 a network has no dropout layers. Dropout does not change the names, shapes and
initial values of the parameters.
"""

import math

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


def digits_cnn(input_shape: Shape, classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Return a network for 8×8 images: conv 16 and 32 (3×3), fc 64; 13,706 parameters."""
    convolutions = [*_stage(input_shape[0], 16, kernel=3), *_stage(16, 32, kernel=3, pool=True)]
    return _classifier(convolutions, input_shape, hidden=64, classes=classes, dropout=dropout)


def mnist_cnn(input_shape: Shape, classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Return the paper's MNIST network: conv 16 and 64 (5×5), fc 64; 92,330 parameters."""
    convolutions = [
        *_stage(input_shape[0], 16, kernel=5, pool=True),
        *_stage(16, 64, kernel=5, pool=True),
    ]
    return _classifier(convolutions, input_shape, hidden=64, classes=classes, dropout=dropout)


def logistic(input_shape: Shape, classes: int) -> nn.Module:
    """Return logistic regression: one linear layer with a logit per class (paper 6.2).

    1,570 parameters for two classes of 28×28 images.
    """
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(input_shape), classes))


def small_cnn(input_shape: Shape, classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Return the paper's network for second-order attacks (6.2): conv 16 and 16, fc 32.

    The kernels are 5×5, as in `mnist_cnn`: 15,122 parameters for two classes of 28×28 images.
    """
    convolutions = [
        *_stage(input_shape[0], 16, kernel=5, pool=True),
        *_stage(16, 16, kernel=5, pool=True),
    ]
    return _classifier(convolutions, input_shape, hidden=32, classes=classes, dropout=dropout)


def cifar_cnn(input_shape: Shape, classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Return the paper's CIFAR network: conv 128, 128, 512, average pool 3×3, fc 256.

    The paper does not state the kernels. Here they are 3×3 without padding, with two 2×2 poolings, which
    gives 875,402 parameters for ten classes; the paper says "around 1M".
    """
    convolutions = [
        *_stage(input_shape[0], 128, kernel=3, pool=True),
        *_stage(128, 128, kernel=3, pool=True),
        *_stage(128, 512, kernel=3),
        nn.AvgPool2d(3),
    ]
    return _classifier(convolutions, input_shape, hidden=256, classes=classes, dropout=dropout)


def photo_cnn(input_shape: Shape, classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Return the paper's network for 256×256 photos: conv 64, 64, 64, 512, average pool 7×7, fc 128.

    The strides are 4, 3, 2, 1. The kernels, which the paper does not state, are 5×5: 1,095,426 parameters for
    two classes.
    """
    convolutions = [
        *_stage(input_shape[0], 64, kernel=5, stride=4),
        *_stage(64, 64, kernel=5, stride=3),
        *_stage(64, 64, kernel=5, stride=2),
        *_stage(64, 512, kernel=5, padding=2),
        nn.AvgPool2d(7),
    ]
    return _classifier(convolutions, input_shape, hidden=128, classes=classes, dropout=dropout)


def auto(input_shape: Shape, classes: int, *, dropout: float = 0.0) -> nn.Module:
    """Return the network for images of this size: up to 15, 28 or 127 pixels a side, or more."""
    side = min(input_shape[1:])
    if side < 16:
        return digits_cnn(input_shape, classes, dropout=dropout)
    if side <= 28:
        return mnist_cnn(input_shape, classes, dropout=dropout)
    return (cifar_cnn if side < 128 else photo_cnn)(input_shape, classes, dropout=dropout)


def _stage(
    inputs: int, outputs: int, *, kernel: int, stride: int = 1, padding: int = 0, pool: bool = False
) -> list[nn.Module]:
    pooling: list[nn.Module] = [nn.MaxPool2d(2)] if pool else []
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), *pooling, nn.ReLU()]


def _classifier(
    convolutions: list[nn.Module], input_shape: Shape, *, hidden: int, classes: int, dropout: float
) -> nn.Module:
    if not 0 <= dropout < 1:
        raise ValueError(
            f"dropout is the share of nodes that a step drops, at least 0 and below 1, not {dropout}"
        )
    features = _features(nn.Sequential(*convolutions), input_shape)
    head = [nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, classes)]
    return nn.Sequential(*(_dropping(layer, dropout) for layer in (*convolutions, *head)))


def _dropping(layer: nn.Module, dropout: float) -> nn.Module:
    if dropout == 0 or not isinstance(layer, nn.ReLU):
        return layer
    # Nest both in one module, so that later layers keep their names.
    return nn.Sequential(layer, nn.Dropout(dropout))


def _features(convolutions: nn.Module, input_shape: Shape) -> int:
    image = torch.zeros(1, *input_shape)
    try:
        with torch.no_grad():
            output: Tensor = convolutions(image)
    except RuntimeError as error:
        raise ValueError(f"images of shape {input_shape} are too small for this network: {error}") from error
    return output.numel()
