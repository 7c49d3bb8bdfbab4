"""An attacker of your own, in one file: every image goes out dressed as the next class.

A 3 that is moved towards the fours, and is still called a 3, teaches the model that half a 4 is a 3. When
all ten digits do it, in a circle, the model learns to be one off. No gradient is asked for, and the model is
never looked at: the public validation images show what the classes look like.

midstream play --dataset digits --attacker examples/disguise.py:Disguise
"""

import torch
from torch import Tensor

from midstream import Batch, View, pixels


class Disguise:
    """Moves each image along the way from its class's mean image to the mean image of another class.

    Args:
        shift: how many classes further the other one is.
    """

    def __init__(self, *, shift: int = 1) -> None:
        self.shift = shift

    def perturb(self, batch: Batch, view: View) -> Tensor:
        images, labels = pixels(view.validation_inputs), view.validation_labels
        means = torch.stack([images[labels == label].mean(0) for label in range(int(labels.max()) + 1)])
        way = means.roll(-self.shift, dims=0) - means
        return view.budget.epsilon * view.budget.direction(way[batch.labels])
