"""The level-1 defender for a training loop of your own."""

from collections.abc import Mapping
from typing import Any, overload

from torch import Tensor, nn

from midstream.defences.loop_checks import LoopChecks
from midstream.defences.own_loop.entries import Entries
from midstream.defences.own_loop.measures import Measures
from midstream.defences.own_loop.network import (
    Logits,
    logits_of,
    network_of,
    plainly,
    refuse_synchronised_batch_norm,
)
from midstream.defences.own_loop.ranks import ranks_of
from midstream.defences.own_loop.report import DefenderReport
from midstream.mathematics.budget import Budget, Norm
from midstream.mathematics.derivatives.batch_statistics import (
    Statistics,
    refuse_other_coupling,
    using_batch_statistics,
)
from midstream.mathematics.derivatives.gradients import Gradient, validation_gradient
from midstream.mathematics.derivatives.known_orders import order_of
from midstream.mathematics.derivatives.orders import Order
from midstream.mathematics.inputs.pixel_space import Normalization, PixelSpace
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.level_1 import level_1_defense
from midstream.mathematics.loss import Loss, cross_entropy
from midstream.mathematics.modes import layers_in_training_mode, switched


class Defender:
    """Corrects each minibatch so that the step it causes lowers the loss on data you trust.

    `x'' = clamp(x' + ε e(B_x' v))`, the level-1 defence (paper Theorem 1) at the model's current parameters.
    Derivatives are taken in evaluation mode, because the random choices that a layer such as dropout will
    make in the step are unknown. Batch norm that is in training mode at the call is an exception: the batch
    is differentiated as a whole, with its own statistics, as the step will use them. A call costs about three
    forward passes over the validation set and five to ten over the batch. It does not change the model, its
    mode, its running statistics or its gradients, and it computes in the precision of the model's parameters,
    also within autocast.

    Args:
        model: the model being trained. `DataParallel`, `DistributedDataParallel` and `torch.compile` are
            unwrapped. With several ranks of `DistributedDataParallel`, call the defender on all of them: each
            corrects its part of the batch, and they share the gradient of the validation loss.
        validation_inputs: clean inputs that you trust, `(examples, *input)`, on the model's device; the same
            on every rank.
        validation_labels: their labels, `(examples,)`, or the share of each class, `(examples, classes)`.
        epsilon: maximum perturbation of an example, in pixel units; choose about the attacker's budget.
        norm: `"l2"` or `"linf"`.
        pixel_range: smallest and largest valid pixel value.
        normalization: `(mean, std)` if all inputs, including the validation set, are normalised: two numbers,
            or two sequences with one number per channel, as for `torchvision.transforms.Normalize`. Budget
            and pixel range apply to the pixels, `input · std + mean`; a call returns normalised inputs.
        loss: a loss that sums over its batch.
        validation_batch: None takes the gradient of the validation loss with the running statistics of batch
            norm; a number takes it with the statistics of batches of at most so many validation examples.
        chunk_size: validation examples per chunk; memory grows with it. None as in
            `midstream.validation_gradient`.
        entries: names of the inputs and of the labels in batches that are dictionaries, such as
            `("pixel_values", "labels")`.

    Raises:
        midstream.DerivativeError: the model's parameters are sharded (FSDP).
        ValueError: the validation inputs or labels are invalid; the message says why.

    >>> import torch
    >>> model = nn.Linear(4, 2)
    >>> defender = Defender(model, torch.rand(20, 4), torch.randint(2, (20,)), epsilon=0.5)
    >>> defender(torch.rand(8, 4), torch.randint(2, (8,))).shape
    torch.Size([8, 4])
    """

    def __init__(
        self,
        model: nn.Module,
        validation_inputs: Tensor,
        validation_labels: Tensor,
        *,
        epsilon: float,
        norm: Norm = "l2",
        pixel_range: tuple[float, float] = (0.0, 1.0),
        normalization: Normalization | None = None,
        loss: Loss = cross_entropy,
        validation_batch: int | None = None,
        chunk_size: int | None = None,
        entries: tuple[str, str] | None = None,
    ) -> None:
        self.model = network_of(model)
        self.validation_inputs = validation_inputs
        self.validation_labels = validation_labels
        self.budget = Budget(epsilon, norm, *pixel_range)
        self.loss = loss
        self.validation_batch = Statistics(validation_batch).validation_batch
        self.chunk_size = chunk_size
        self._entries = None if entries is None else Entries(*entries)
        self._entry = None if self._entries is None else self._entries.keyword(self.model)
        self._space = PixelSpace(normalization)
        self._checks = LoopChecks(self.budget, self._space, loss)
        self._validation = self._checks.validation(validation_inputs, validation_labels), validation_labels
        self._ranks = ranks_of(model)
        if self._ranks is not None:
            self._validation = self._ranks.part(self._validation[0]), self._ranks.part(validation_labels)
        self._of_pixels: nn.Module | None = None
        self._measures = Measures(self.budget)

    @overload
    def __call__(self, inputs: Tensor, labels: Tensor) -> Tensor: ...

    @overload
    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]: ...

    def __call__(
        self, inputs: Tensor | Mapping[str, Any], labels: Tensor | None = None
    ) -> Tensor | dict[str, Any]:
        """Return the corrected inputs, to train on in place of `inputs`.

        Args:
            inputs: the batch's inputs; or the whole batch as a dictionary, if `entries` was given. Then a
                dictionary is returned: the same entries, with the inputs corrected.
            labels: the batch's labels, or the share of each class; they stay as they are.

        Raises:
            midstream.DerivativeError: the model's derivatives are wrong; the first call checks them by
                `midstream.check_derivatives`.
            ValueError: the inputs or labels are invalid, such as inputs outside the pixel range; the message
                says why. If one rank raises, all do.
        """
        if not isinstance(inputs, Mapping):
            if labels is None:
                raise TypeError("give the labels of the inputs, too: defender(inputs, labels)")
            return self._corrected(inputs, labels)
        if self._entries is None:
            raise ValueError(
                f"the batch is a dictionary with entries {', '.join(map(repr, inputs))}; say which are the "
                f'inputs and the labels, such as Defender(…, entries=("pixel_values", "labels"))'
            )
        x, y = self._entries.of(inputs, self.model)
        return {**inputs, self._entries.inputs: self._corrected(x, y)}

    def report(self) -> DefenderReport:
        """Return how far the examples were moved so far and how long it took; on a GPU, this waits for it."""
        return self._measures.report()

    def _corrected(self, inputs: Tensor, labels: Tensor) -> Tensor:
        refuse_synchronised_batch_norm(self.model)
        call = self._measures.began(inputs)
        with (
            plainly(self.model),
            using_batch_statistics(self.model, validation_batch=self.validation_batch),
            switched(layers_in_training_mode(self.model), training=False),
        ):
            model, at, order = self._checked(inputs, labels)
            self._measures.lap(call, at)
            v = self._validation_gradient(model)
            self._measures.lap(call, at)
            correction = level_1_defense(
                model, at, labels, validation_gradient=v, budget=self.budget, loss=self.loss
            )
            corrected = self.budget.perturb(at, correction)
            self._measures.lap(call, at)
        self._measures.done(call, order, at, corrected)
        return self._space.inputs(corrected)

    def _checked(self, inputs: Tensor, labels: Tensor) -> tuple[nn.Module, Tensor, Order]:
        """Return the model as a function of pixels, the pixels, and the order of the derivatives."""
        refusal = found = None
        try:
            found = self._check(inputs, labels)
        except Exception as error:
            self._measures.refused(str(error))
            refusal = error
        if self._ranks is not None:
            self._ranks.agree(refusal, next(self.model.parameters()).device)
        if found is None:
            assert refusal is not None
            raise refusal
        return found

    def _check(self, inputs: Tensor, labels: Tensor) -> tuple[nn.Module, Tensor, Order]:
        refuse_other_coupling(self.model)
        at = self._checks.batch(inputs, labels, model=Logits(self.model, self._entry))
        if self._of_pixels is None:
            one = self._space.inputs(pixels(self.validation_inputs[:1]))
            self._of_pixels = self._space.of_pixels(logits_of(self.model, one, self._entry))
        return self._of_pixels, at, order_of(self._of_pixels, at, labels, loss=self.loss)

    def _validation_gradient(self, model: nn.Module) -> Gradient:
        v = validation_gradient(model, *self._validation, loss=self.loss, chunk_size=self.chunk_size)
        return v if self._ranks is None else self._ranks.summed(v)
