"""Wide residual networks for small images (Zagoruyko and Komodakis 2016)."""

import torch.nn.functional as F
from torch import Tensor, nn

from midstream.networks.classifiers import Shape
from midstream.networks.norms import Norm, norm_layer


def wide_resnet(
    input_shape: Shape, classes: int, *, norm: Norm = "batch", depth: int = 16, width: int = 4
) -> nn.Module:
    """Return a wide ResNet: WRN-16-4, 2.7 million parameters; batch norm needs `--batch-norm training`.

    Args:
        input_shape: `(channels, height, width)`.
        classes: number of classes.
        norm: `batch` or `group`, the norm before each convolution.
        depth: number of layers, 6n + 4 for n blocks a stage; the authors' largest has 28.
        width: factor of the channels 16, 32 and 64; 10 in the authors' WRN-28-10.

    Raises:
        ValueError: the depth is not 6n + 4, or the width is below 1.
    """
    if depth < 10 or depth % 6 != 4 or width < 1:
        raise ValueError(f"depth must be 10, 16, 22, 28, … and width at least 1, not {depth} and {width}")
    return WideResNet(input_shape[0], classes, norm=norm, blocks=(depth - 4) // 6, width=width)


class WideResNet(nn.Module):
    """Three stages of residual blocks with the norm first.

    Args:
        channels: of an image.
        classes: number of classes.
        norm: the norm before each convolution.
        blocks: blocks of a stage.
        width: factor of the channels.
    """

    def __init__(self, channels: int, classes: int, *, norm: Norm, blocks: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, 1, 1, bias=False)
        stages, reached = [], 16
        for outputs, stride in ((16 * width, 1), (32 * width, 2), (64 * width, 2)):
            first = Block(reached, outputs, norm, stride=stride)
            others = [Block(outputs, outputs, norm, stride=1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *others))
            reached = outputs
        self.stages = nn.Sequential(*stages)
        self.norm = norm_layer(norm, reached)
        self.fc = nn.Linear(reached, classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, `(batch, classes)`."""
        x = F.relu(self.norm(self.stages(self.conv1(images))))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """`shortcut(x) + conv(relu(norm(conv(relu(norm(x))))))`, the convolutions 3×3."""

    def __init__(self, inputs: int, outputs: int, norm: Norm, *, stride: int) -> None:
        super().__init__()
        self.norm1 = norm_layer(norm, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = norm_layer(norm, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = None
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output; a shortcut that changes the shape begins behind the norm."""
        activated = F.relu(self.norm1(x))
        y: Tensor = self.conv2(F.relu(self.norm2(self.conv1(activated))))
        kept: Tensor = x if self.shortcut is None else self.shortcut(activated)
        return kept + y
