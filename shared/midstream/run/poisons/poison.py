"""A poison: the perturbations that an attacker sent, with a card, as one safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from sys import float_info
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from midstream.errors import MidstreamError
from midstream.mathematics.inputs.content_keys import KEY_BYTES
from midstream.protocol.wire import encode_tensors, tensors_sha256
from midstream.storage.run_folder import write_whole

FORMAT = "midstream-poison-1"

_TENSORS = ("hash", "index", "label", "perturbation", "seq")


class PoisonError(MidstreamError, ValueError):
    """A file of perturbations cannot be read, or does not fit the game; the message says why."""


@dataclass(frozen=True)
class Poison:
    """Perturbations of training examples, one row for each one sent.

    Attributes:
        index: place of the example in the data set's training data, `(rows,)`, int64.
        hash: content key of the clean example, `(rows, 16)`, uint8; see
            `midstream.mathematics.inputs.rows.content_keys`.
        perturbation: what was added to the example, `(rows, *input)`, float32, in pixel units.
        label: the label that was sent with it, `(rows,)`, int64.
        seq: number of the minibatch in which it was sent, `(rows,)`, int64.
        card: where the poison is from: run, data set, attacker, budget.
    """

    index: Tensor
    hash: Tensor
    perturbation: Tensor
    label: Tensor
    seq: Tensor
    card: Mapping[str, Any]

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The rows, by name."""
        return {name: getattr(self, name) for name in _TENSORS}

    def sha256(self) -> str:
        """Return the SHA-256 of the rows; see `midstream.protocol.wire.tensors_sha256`."""
        return tensors_sha256(self.tensors)

    def write(self, path: Path) -> None:
        """Write the file atomically; its metadata holds the card and the digest of the rows."""
        card = json.dumps(self.card, ensure_ascii=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, encode_tensors(self.tensors, format=FORMAT, card=card, sha256=self.sha256()))


def read_poison(path: Path) -> Poison:
    """Read a poison, and check its digest, its shapes and its values.

    Raises:
        PoisonError: the file is missing or damaged, or it is not a poison.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise PoisonError(f"{path} cannot be read as a safetensors file: {error}") from error
    if metadata.get("format") != FORMAT or found.keys() != {*_TENSORS}:
        raise PoisonError(
            f"{path} is not a poison: its format is {metadata.get('format')!r}, not {FORMAT!r}, or it does "
            f"not hold just {', '.join(_TENSORS)}; 'midstream export RUN' writes one"
        )
    if (digest := tensors_sha256(found)) != metadata.get("sha256"):
        raise PoisonError(
            f"{path} is damaged: its rows have SHA-256 {digest}, its card says {metadata.get('sha256')}; "
            f"copy or export it again"
        )
    try:
        card = json.loads(metadata["card"])
    except (KeyError, ValueError) as error:
        raise PoisonError(f"the card of {path} cannot be read: {error}") from error
    if not isinstance(card, dict):
        raise PoisonError(f"the card of {path} is a {type(card).__name__}, not an object")
    poison = Poison(**found, card=card)
    check_rows(poison, path)
    return poison


def check_rows(poison: Poison, path: Path) -> None:
    """Refuse rows of other shapes or dtypes, or perturbations that `check_values` refuses.

    Raises:
        PoisonError: the message names the file.
    """
    rows = len(poison.perturbation) if poison.perturbation.dim() else 0
    shapes = {"index": (rows,), "hash": (rows, KEY_BYTES), "label": (rows,), "seq": (rows,)}
    for name, shape in shapes.items():
        tensor = poison.tensors[name]
        dtype = torch.uint8 if name == "hash" else torch.int64
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise PoisonError(
                f"{name!r} of {path} is {tensor.dtype} of shape {tuple(tensor.shape)}, not {dtype} of {shape}"
            )
    check_values(poison.perturbation, path, bounded=poison.card.get("pixel_range") != "unbounded")


def check_values(perturbation: Tensor, path: Path, *, bounded: bool = True) -> None:
    """Refuse perturbations that are not float32 rows of pixel units.

    Args:
        perturbation: what to check.
        path: the file that it is from.
        bounded: whether the inputs have a pixel range; those of a table have none.

    Raises:
        PoisonError: there are none, or a value is not finite or, if bounded, lies outside of [-1, 1].
    """
    if perturbation.dim() < 2 or not perturbation.numel() or perturbation.dtype != torch.float32:
        raise PoisonError(
            f"the perturbations of {path} are {perturbation.dtype} of shape {tuple(perturbation.shape)}, not "
            f"float32 of (examples, *input)"
        )
    lowest, highest = (value.item() for value in perturbation.aminmax())
    most = 1.0 if bounded else float_info.max
    if not (lowest >= -most and highest <= most):  # false for NaN as well
        found = "hold a NaN" if lowest != lowest else f"range from {lowest:.4g} to {highest:.4g}"
        rule = (
            "lie in [-1, 1], as differences of pixels in [0, 1]. For pixels up to 255, add scale=0.00392157"
        )
        raise PoisonError(
            f"the perturbations of {path} {found}; they must {rule if bounded else 'be finite'}"
        )
