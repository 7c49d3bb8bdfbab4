"""One-pixel shortcut: a pixel of each image takes a colour that gives the class away."""

from dataclasses import dataclass, field
from itertools import product
from typing import ClassVar

import torch
from torch import Tensor

from midstream.mathematics.budget import Budget
from midstream.players.course import Ground
from midstream.players.interface import Batch, View

_SMALL = 1e-6  # of a pixel that is the same in all images


def merits(images: Tensor, colours: Tensor) -> Tensor:
    """Return how well each pixel and colour works for the images of one class, `(colours, height, width)`.

    `G(σ, ξ) = E[d] / Var[d]`, with `d = Σ_c |x_σc - ξ_c|` (after Wu et al. 2023): the pixel is far from the
    colour in all images, and about equally far.

    Args:
        images: `(examples, channels, height, width)`.
        colours: `(colours, channels)`.
    """
    distances = (images[:, None] - colours[None, :, :, None, None]).abs().sum(2)
    return distances.mean(0) / (distances.var(0, correction=0) + _SMALL)


def shortcuts(images: Tensor, labels: Tensor, classes: int, budget: Budget) -> tuple[Tensor, Tensor]:
    """Return the pixel and the colour of each class.

    Classes choose one after the other; a pixel that an earlier class took is left out while others remain.

    Args:
        images: `(examples, channels, height, width)`.
        labels: `(examples,)`.
        classes: number of classes.
        budget: the pixel range, whose ends are the values of the colours' channels.

    Returns:
        Places in the flattened image plane, `(classes,)`, and colours, `(classes, channels)`.
    """
    low = budget.low if budget.low > -float("inf") else 0.0
    ends = list(product((low, budget.white), repeat=images.shape[1]))
    colours = torch.tensor(ends, dtype=images.dtype, device=images.device)
    size = images.shape[2] * images.shape[3]
    places, chosen = torch.zeros(classes, dtype=torch.int64), torch.zeros(classes, images.shape[1])
    taken: set[int] = set()
    for label in range(classes):
        of_class = images[labels == label]
        merit = merits(of_class if len(of_class) else images, colours).flatten(1).clone()
        if len(taken) < size:
            merit[:, sorted(taken)] = -1.0
        colour, place = divmod(int(merit.argmax()), size)
        places[label], chosen[label] = place, colours[colour].cpu()
        taken.add(place)
    return places, chosen


@dataclass(kw_only=True)
class OnePixel:
    """One pixel of each image takes its class's colour (OPS, Wu et al. 2023; not in Table 1).

    Before the game, the pixel and the colour of each class are searched in the training data, which the
    attacker must possess: those that change the images of the class most, and most evenly. Colours are the
    corners of the colour cube. The paper's only budget is one pixel; here the host projects the change onto
    the ball, so a small ε leaves a fainter pixel.

    Paper: "One-Pixel Shortcut: On the Learning Preference of Deep Neural Networks". The authors' code
    (cychomatica/One-Pixel-Shotcut) divides the mean change by its standard deviation over images and
    channels, and two classes may share a pixel in different colours. Here the mean change is divided by the
    variance over images of the sum over channels, and classes take different pixels while there are any:
    the border of digits is always black and would suit every class. A small constant keeps the ratio of
    pixels without variance finite.
    """

    needs_classes: ClassVar[str] = "it has a pixel for each class"

    _places: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _colours: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def survey(self, ground: Ground) -> None:
        """Search the pixels and colours.

        Raises:
            LookupError: the attacker does not have the training data.
            ValueError: the inputs are not images.
        """
        inputs, labels = ground.train()
        if inputs.dim() != 4:
            raise ValueError(
                f"ops needs images of channels, height and width, not inputs of shape "
                f"{tuple(inputs.shape[1:])}"
            )
        self._places, self._colours = shortcuts(inputs, labels, ground.classes, ground.budget)

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return the change of the one pixel."""
        if self._places is None or self._colours is None:
            raise RuntimeError("ops has not seen the data: its host must call survey(ground) before the game")
        labels = batch.labels.cpu()
        places, colours = self._places[labels].to(batch.inputs.device), self._colours[labels].to(batch.inputs)
        flat = batch.inputs.flatten(2)
        where = places[:, None, None].expand(-1, flat.shape[1], 1)
        moved = flat.scatter(2, where, colours[..., None])
        return (moved - flat).reshape(batch.inputs.shape)
