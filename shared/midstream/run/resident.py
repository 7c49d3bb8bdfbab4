"""A training set on the device, of which a batch is a few indices."""

import torch
from torch import Tensor

from midstream.run.datasets import Examples

_SHARE = 0.25
"""Share of the device's memory that a training set may take."""


class Resident:
    """A training set, on the device if it fits; otherwise each batch is copied there.

    Args:
        examples: the training set, in the memory of the host.
        device: where batches are needed.
        memory: bytes of memory on the device; None asks the device, and takes everything to fit on a CPU.
    """

    def __init__(self, examples: Examples, device: torch.device, *, memory: int | None = None) -> None:
        if memory is None and device.type == "cuda":
            memory = torch.cuda.mem_get_info(device)[1]
        size = examples.inputs.nbytes + examples.labels.nbytes
        self.fits = memory is None or size <= _SHARE * memory
        """Whether the set is on the device."""
        self._device = device
        self._inputs, self._labels = examples.inputs, examples.labels
        if self.fits:
            self._inputs, self._labels = self._inputs.to(device), self._labels.to(device)

    def batch(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return the stored inputs and the labels of some examples, on the device.

        Args:
            places: which examples, int64, on the CPU.

        >>> set_ = Resident(Examples(torch.eye(3), torch.arange(3)), torch.device("cpu"))
        >>> set_.batch(torch.tensor([2]))
        (tensor([[0., 0., 1.]]), tensor([2]))
        """
        if self.fits:
            places = sent(places, self._device)
        found = self._inputs.index_select(0, places), self._labels.index_select(0, places)
        return found if self.fits else (sent(found[0], self._device), sent(found[1], self._device))


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the host on a device, without waiting for what the device computes now."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
