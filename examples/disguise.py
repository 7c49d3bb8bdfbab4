"""An attacker in one file: it moves every image towards the next class.

A 3 that is moved towards the fours, but keeps its label, teaches the model that half a 4 is a 3. If all ten
digits are moved this way, in a circle, the model learns to be off by one. The attacker uses neither gradients
nor the model: the public validation images show what the classes look like.

midstream play --dataset digits --attacker examples/disguise.py:Disguise
"""

import torch
from torch import Tensor

from midstream import Batch, View, pixels


class Disguise:
    """Moves each image in the direction from its class's mean image to the mean image of another class.

    Args:
        shift: the other class's number minus the image's class, modulo the number of classes.
    """

    def __init__(self, *, shift: int = 1) -> None:
        self.shift = shift

    def perturb(self, batch: Batch, view: View) -> Tensor:
        images, labels = pixels(view.validation_inputs), view.validation_labels
        means = torch.stack([images[labels == label].mean(0) for label in range(int(labels.max()) + 1)])
        way = means.roll(-self.shift, dims=0) - means
        return view.budget.epsilon * view.budget.direction(way[batch.labels])
