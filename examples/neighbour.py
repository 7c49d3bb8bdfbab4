"""A defender in one file: it moves every image towards trusted images with the same label.

An image that is labelled 3 but begins to look like a 4 is moved towards the threes that it resembles most,
within the budget. Like the attacker of disguise.py, the defender uses no gradient.

midstream play --dataset digits --attacker level-1 --defender examples/neighbour.py:Neighbour
"""

import torch
from torch import Tensor

from midstream import Batch, View, pixels


class Neighbour:
    """Moves each image to the mean of the nearest validation images of its label.

    Args:
        count: number of nearest images.
    """

    def __init__(self, *, count: int = 1) -> None:
        self.count = count

    def perturb(self, batch: Batch, view: View) -> Tensor:
        images, labels = pixels(view.validation_inputs), view.validation_labels
        distances = torch.cdist(batch.inputs.flatten(1), images.flatten(1))
        distances[batch.labels[:, None] != labels] = torch.inf
        nearest = distances.topk(self.count, largest=False).indices
        return images[nearest].mean(1) - batch.inputs  # the host projects it onto the budget
