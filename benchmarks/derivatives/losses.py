"""Losses other than cross-entropy, each summed over its batch."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.derivatives.case import CLASSES, Case


def targets(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.one_hot(labels, CLASSES).to(outputs)


def focal(outputs: Tensor, labels: Tensor) -> Tensor:
    surprise = F.cross_entropy(outputs, labels, reduction="none")
    return ((1 - (-surprise).exp()) ** 2 * surprise).sum()


def temporal(outputs: Tensor, labels: Tensor) -> Tensor:
    """Align the labels with outputs read as three instants of a sequence."""
    instants = torch.stack([outputs, outputs.sin(), outputs.cos()]).log_softmax(-1)
    lengths = torch.full((len(labels),), 3)
    return F.ctc_loss(instants, labels[:, None] % 2 + 1, lengths, torch.ones_like(lengths), reduction="sum")


def triplets(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.triplet_margin_loss(
        outputs, targets(outputs, labels), outputs.sin() + 0.4, margin=3.0, reduction="sum"
    )


def gaussian(outputs: Tensor, labels: Tensor) -> Tensor:
    return F.gaussian_nll_loss(outputs, targets(outputs, labels), outputs.square() + 0.3, reduction="sum")


def signs(outputs: Tensor, labels: Tensor) -> Tensor:
    return 2 * targets(outputs, labels) - 1


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy, label smoothing": lambda o, y: F.cross_entropy(
        o, y, label_smoothing=0.1, reduction="sum"
    ),
    "cross_entropy, weighted": lambda o, y: F.cross_entropy(
        o, y, o.new_tensor([1.0, 2.0, 0.5]), reduction="sum"
    ),
    "cross_entropy, probabilities": lambda o, y: F.cross_entropy(
        o, 0.8 * targets(o, y) + 0.1, reduction="sum"
    ),
    "nll_loss": lambda o, y: F.nll_loss(o.log_softmax(-1), y, reduction="sum"),
    "mse_loss": lambda o, y: F.mse_loss(o, targets(o, y), reduction="sum"),
    "l1_loss": lambda o, y: F.l1_loss(o.sin(), targets(o, y), reduction="sum"),
    "huber_loss": lambda o, y: F.huber_loss(o, targets(o, y), reduction="sum", delta=0.4),
    "smooth_l1_loss": lambda o, y: F.smooth_l1_loss(o, targets(o, y), reduction="sum", beta=0.4),
    "kl_div": lambda o, y: F.kl_div(o.log_softmax(-1), 0.8 * targets(o, y) + 0.1, reduction="sum"),
    "binary_cross_entropy": lambda o, y: F.binary_cross_entropy(o.sigmoid(), targets(o, y), reduction="sum"),
    "binary_cross_entropy_with_logits": lambda o, y: F.binary_cross_entropy_with_logits(
        o, targets(o, y), reduction="sum"
    ),
    "multi_margin_loss": lambda o, y: F.multi_margin_loss(o.sin(), y, p=2, reduction="sum"),
    "multilabel_margin_loss": lambda o, y: F.multilabel_margin_loss(
        o.sin(), torch.stack([y, -torch.ones_like(y), y], 1), reduction="sum"
    ),
    "multilabel_soft_margin_loss": lambda o, y: F.multilabel_soft_margin_loss(
        o, targets(o, y), reduction="sum"
    ),
    "soft_margin_loss": lambda o, y: F.soft_margin_loss(o, signs(o, y), reduction="sum"),
    "hinge_embedding_loss": lambda o, y: F.hinge_embedding_loss(o.square(), signs(o, y), reduction="sum"),
    "margin_ranking_loss": lambda o, y: F.margin_ranking_loss(
        o.sin(), o.square(), signs(o, y), margin=2.0, reduction="sum"
    ),
    "cosine_embedding_loss": lambda o, y: F.cosine_embedding_loss(
        o, o.sin() + targets(o, y), 2 * (y % 2) - 1, reduction="sum"
    ),
    "triplet_margin_loss": triplets,
    "poisson_nll_loss": lambda o, y: F.poisson_nll_loss(o, targets(o, y), reduction="sum"),
    "gaussian_nll_loss": gaussian,
    "ctc_loss": temporal,
    "focal loss": focal,
}


def classifier() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES))


# The backward passes of these have no derivative in torch.
_ONCE = {"multi_margin_loss", "multilabel_margin_loss", "ctc_loss"}

LOSSES = [
    Case(name, classifier, (6,), loss=loss, refused="second derivatives" if name in _ONCE else "")
    for name, loss in _LOSSES.items()
]
