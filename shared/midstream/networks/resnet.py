"""ResNet-18, for small and for large images (He et al. 2016)."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from midstream.networks.classifiers import Shape
from midstream.networks.norms import Norm, norm_layer

_SMALL = 64
"""Side of the largest images that get the stem for small ones."""


def resnet18(
    input_shape: Shape,
    classes: int,
    *,
    norm: Norm = "batch",
    width: int = 64,
    stem: Literal["auto", "small", "large"] = "auto",
) -> nn.Module:
    """Return ResNet-18: 11.2 million parameters; batch norm needs `--batch-norm training`.

    Layers are named as in torchvision, so that its weights fit where the shapes do.

    Args:
        input_shape: `(channels, height, width)`.
        classes: number of classes.
        norm: `batch` or `group`, the norm after each convolution.
        width: channels of the first stage; 64 in the original.
        stem: `small` begins with a 3×3 convolution, as usual for CIFAR; `large` with a 7×7 convolution of
            stride 2 and a pooling, as in the original. `auto` takes `small` for images of up to 64 pixels a
            side.

    Raises:
        ValueError: the width is not positive.
    """
    if width < 1:
        raise ValueError(f"width must be at least 1, not {width}")
    small = min(input_shape[1:]) <= _SMALL if stem == "auto" else stem == "small"
    return ResNet(input_shape[0], classes, norm=norm, width=width, small=small)


class ResNet(nn.Module):
    """Four stages of two residual blocks; each stage but the first halves the image and doubles the channels.

    Args:
        channels: of an image.
        classes: number of classes.
        norm: the norm after each convolution.
        width: channels of the first stage.
        small: whether the stem is that for small images.
    """

    def __init__(self, channels: int, classes: int, *, norm: Norm, width: int, small: bool) -> None:
        super().__init__()
        kernel, stride, padding = (3, 1, 1) if small else (7, 2, 3)
        self.conv1 = nn.Conv2d(channels, width, kernel, stride, padding, bias=False)
        self.bn1 = norm_layer(norm, width)
        self.maxpool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        self.layer1 = _stage(width, width, norm, stride=1)
        self.layer2 = _stage(width, 2 * width, norm, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, norm, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, norm, stride=2)
        self.fc = nn.Linear(8 * width, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, `(batch, classes)`."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """`relu(shortcut(x) + norm(conv(relu(norm(conv(x))))))`, the convolutions 3×3."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = norm_layer(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = norm_layer(norm, outputs)
        self.downsample = None
        if stride > 1 or inputs != outputs:
            shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, norm_layer(norm, outputs))

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _stage(inputs: int, outputs: int, norm: Norm, *, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(inputs, outputs, norm, stride=stride), Block(outputs, outputs, norm, stride=1))
