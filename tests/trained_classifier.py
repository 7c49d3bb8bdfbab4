"""A classifier trained on the digits, and images that it gets right."""

from functools import cache

import torch
from torch import Tensor, nn

from midstream import cross_entropy
from midstream.networks.classifiers import digits_cnn
from midstream.run import datasets


@cache
def digits() -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network trained on digits, and 40 images that it gets right."""
    data = datasets.load("digits", datasets.Source())
    inputs, labels = data.train.inputs.float(), data.train.labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = digits_cnn(tuple(inputs.shape[1:]), 10)
    adam = torch.optim.Adam(model.parameters(), lr=0.003)
    for step in range(150):
        rows = torch.arange(100 * step, 100 * step + 100) % 1000
        adam.zero_grad()
        cross_entropy(model(inputs[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        adam.step()
    right = (model(inputs).argmax(dim=1) == labels).nonzero()[:40, 0]
    return model.eval().requires_grad_(False), inputs[right], labels[right]
