"""An attacker that plays recorded or published perturbations."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from midstream.mathematics.inputs.content_keys import content_keys
from midstream.players.course import Ground
from midstream.players.interface import Batch, View
from midstream.run.poisons.arrays import read_arrays
from midstream.run.poisons.poison import PoisonError, read_poison


@dataclass(kw_only=True)
class Replay:
    """Play perturbations from a file (static poisons as in APBench, Qin et al. 2024; not in Table 1).

    The file is what `midstream export` wrote, or a `.npz`, a `.npy` or a folder of `.npy` files as the papers
    on availability attacks publish them. Nothing is unpickled.

    An exported perturbation is found by the content of its clean example. If the file holds several for one
    example, the last one that was sent up to this minibatch's number is played. The rows of an array are the
    training data in the data set's order, or those named by `index`; the attacker must possess the data set
    to find them. The label of the file replaces the example's, if it has one. Other examples stay as they
    are. The host projects each perturbation onto this game's budget, so that a poison of a larger one is
    played at a smaller size. Each move reports the share of examples that the file knows.

    Args:
        path: the file or folder.
        by: whether an array has one perturbation for each `example`, or one for each `class`.
        scale: factor of an array's values, such as 0.00392157 for pixels up to 255.
    """

    path: Path
    by: Literal["example", "class"] = "example"
    scale: float = 1.0
    _perturbation: Tensor = field(init=False, repr=False, compare=False)
    _label: Tensor | None = field(init=False, repr=False, compare=False)
    _index: Tensor | None = field(default=None, init=False, repr=False, compare=False)
    _rows: dict[bytes, list[tuple[int, int]]] | None = field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale) or self.scale == 0:
            raise ValueError(f"scale is a finite factor other than 0, not {self.scale}")
        if self.path.suffix == ".safetensors":
            if self.by != "example" or self.scale != 1:
                raise ValueError(
                    f"by={self.by} and scale={self.scale:g} are for arrays; an exported poison, such as "
                    f"{self.path}, has a perturbation for each example, in pixel units: leave both out"
                )
            poison = read_poison(self.path)
            self._perturbation, self._label = poison.perturbation, poison.label
            keys = [row.tobytes() for row in poison.hash.numpy()]
            self._rows = _rows(keys, poison.seq.tolist())
        else:
            arrays = read_arrays(self.path, scale=self.scale)
            self._perturbation, self._label, self._index = arrays.perturbation, arrays.label, arrays.index

    @property
    def needs_classes(self) -> str:
        """Why it needs classes; empty if it has neither labels nor a row for each class."""
        return "its file is about classes" if self._label is not None or self.by == "class" else ""

    def survey(self, ground: Ground) -> None:
        """Check the shapes, and find the example of each row of an array.

        Raises:
            PoisonError: the perturbations do not fit the game.
            LookupError: the attacker does not have the data set, which an array needs.
        """
        self._perturbation = self._fitted(tuple(ground.validation_inputs.shape[1:]))
        if self._label is not None:
            for label in map(int, self._label.aminmax()):
                if not 0 <= label < ground.classes:
                    raise PoisonError(
                        f"{self.path} has the label {label}; this game has {ground.classes} classes, from 0"
                    )
        rows = len(self._perturbation)
        if self.by == "class":
            if rows != ground.classes:
                raise PoisonError(
                    f"{self.path} has {rows} rows; this game has {ground.classes} classes, and by=class "
                    f"needs a row for each"
                )
        elif self._rows is None:
            self._rows = self._found(ground)

    def _fitted(self, shape: tuple[int, ...]) -> Tensor:
        found, own = self._perturbation, tuple(self._perturbation.shape[1:])
        if own == shape:
            return found
        if own == (*shape[1:], *shape[:1]):  # channels last
            return found.movedim(-1, 1).contiguous()
        raise PoisonError(
            f"the perturbations of {self.path} have shape {own}, the inputs of the game {shape}"
        )

    def _found(self, ground: Ground) -> dict[bytes, list[tuple[int, int]]]:
        inputs, _ = ground.train()
        places, rows = ground.train_index().tolist(), len(self._perturbation)
        if self._index is None and max(places) >= rows:
            raise PoisonError(
                f"{self.path} has {rows} rows, and the game uses example {max(places)} of the data set; it "
                f"must have a row for each training example of the data set, or an array 'index'"
            )
        row_of = range(rows) if self._index is None else _positions(self._index)
        known = sorted(
            (place, key) for place, key in zip(places, content_keys(inputs), strict=True) if place in row_of
        )
        found: dict[bytes, list[tuple[int, int]]] = {}
        for place, key in known:  # of equal examples, the first one counts
            found.setdefault(key, [(0, row_of[place])])
        if not found:
            raise PoisonError(
                f"no example of {self.path} is among the training data of this game; play the data set, the "
                f"seed and the train_size that it was made for"
            )
        return found

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the file's perturbations, and zeros for examples that it does not know."""
        if self._perturbation.shape[1:] != batch.inputs.shape[1:]:
            self._perturbation = self._fitted(tuple(batch.inputs.shape[1:]))
        rows = list(self._played(batch))
        view.report("replayed", sum(row is not None for row in rows) / len(rows))
        moves = torch.zeros_like(batch.inputs)
        for number, row in enumerate(rows):
            if row is not None:
                moves[number] = self._perturbation[row].to(moves)
        return moves

    def relabel(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        """Return the file's labels; examples that it does not know keep theirs."""
        if self._label is None:
            return batch.labels
        rows, labels = self._played(batch), batch.labels.tolist()
        found = [own if row is None else int(self._label[row]) for own, row in zip(labels, rows, strict=True)]
        return torch.tensor(found).to(batch.labels)

    def _played(self, batch: Batch) -> Iterator[int | None]:
        if self.by == "class":
            yield from batch.labels.tolist()
            return
        if self._rows is None:
            raise RuntimeError(
                "replay has not seen the data: its host must call survey(ground) before the game"
            )
        for key in batch.content_keys():
            sent = self._rows.get(key)
            yield None if sent is None else sent[max(0, bisect_right(sent, (batch.seq, math.inf)) - 1)][1]


def _rows(keys: Sequence[bytes], seqs: Sequence[int]) -> dict[bytes, list[tuple[int, int]]]:
    """Return the rows of each key, as pairs of minibatch and row, in the order of the minibatches."""
    found: dict[bytes, list[tuple[int, int]]] = {}
    for row, (key, seq) in enumerate(zip(keys, seqs, strict=True)):
        found.setdefault(key, []).append((seq, row))
    return {key: sorted(sent) for key, sent in found.items()}


def _positions(index: Tensor) -> dict[int, int]:
    positions: dict[int, int] = {}
    for row, place in enumerate(index.tolist()):
        positions.setdefault(place, row)
    return positions
