"""Restricts what an attacker sees: parameters that are old or noisy, and a part of Dval."""

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from midstream.mathematics.derivatives.checking.check import FEW
from midstream.mathematics.derivatives.chunk_size import choose_chunk_size, chunk_size_of
from midstream.mathematics.derivatives.gradients import Gradient, validation_gradient
from midstream.mathematics.derivatives.known_orders import order_of, remember
from midstream.mathematics.graphs.program import Programs
from midstream.mathematics.inputs.pixels import pixels
from midstream.mathematics.optimizers.training_step import TrainingStep
from midstream.mathematics.seeds import generator, permutation
from midstream.players.course import Ground
from midstream.players.interface import Batch, Relabelling, View
from midstream.players.wrappers.wrapper import Wrapper

_MINE = "limited."


def _no_optimizer() -> TrainingStep:
    raise LookupError("an attacker with stale or noisy parameters does not see the training optimizer")


@dataclass(kw_only=True)
class Limited(Wrapper):
    """Any attacker, with less to see than its host shows: `stale`, `theta_noise` and `dval`.

    It computes at θ_{t-n} + noise in place of θ_t, and with a part of Dval, which the run's seed chooses; its
    validation gradient is that of both. With a stale or noisy θ it does not see the optimizer. The first
    moves of a stale attacker are made at the oldest θ that it has seen.

    Args:
        inner: the attacker.
        stale: how many steps old the parameters are that the attacker sees.
        theta_noise: deviation of normal noise on each parameter tensor, as a share of the root mean square of
            its values; drawn anew for each minibatch.
        dval: share of Dval that the attacker has, above 0 and at most 1; at least one example.
    """

    stale: int = 0
    theta_noise: float = 0.0
    dval: float = 1.0
    _model: nn.Module | None = field(default=None, init=False, repr=False, compare=False)
    _seen: dict[int, dict[str, Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.stale < 0:
            raise ValueError(f"stale is a number of steps, at least 0, not {self.stale}")
        if not 0 <= self.theta_noise < math.inf:
            raise ValueError(f"theta_noise is finite and at least 0, not {self.theta_noise}")
        if not 0 < self.dval <= 1:
            raise ValueError(f"dval is a share, above 0 and at most 1, not {self.dval}")

    @property
    def remembers(self) -> bool:
        """Whether old parameters or the attacker's own memory must survive a restart."""
        return self.stale > 0 or super().remembers

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's perturbations at what it sees."""
        self._look(view)
        return self.inner.perturb(batch, self._limited(batch, view))

    def compose(self, batch: Batch, view: View) -> Batch:
        """Return the attacker's minibatch, chosen at what it sees; it adds examples of its part of Dval."""
        if not self.composes:
            return batch
        self._look(view)
        return super().compose(batch, self._limited(batch, view))

    def relabel(self, batch: Batch, view: View) -> Tensor:
        """Return the attacker's labels at what it sees."""
        if not isinstance(self.inner, Relabelling):
            return batch.labels
        return self.inner.relabel(batch, self._limited(batch, view))

    def restricted(self, ground: Ground) -> Ground:
        """Return what the attacker may learn on before the game: its part of Dval."""
        if self.dval == 1:
            return ground
        rows = self._rows(ground.validation_labels, ground.seed)
        inputs, labels = ground.validation_inputs[rows], ground.validation_labels[rows]
        return replace(ground, validation_inputs=inputs, validation_labels=labels)

    def _look(self, view: View) -> None:
        """Keep the live parameters for later, and forget those that will not be shown again."""
        if self.stale:
            theta = {name: value.detach().clone() for name, value in view.model.state_dict().items()}
            self._seen[view.parameters_version] = theta
            oldest = self._version(view)
            self._seen = {version: seen for version, seen in self._seen.items() if version >= oldest}

    def _rows(self, labels: Tensor, seed: int) -> Tensor:
        order = permutation(len(labels), seed, "dval")[: max(1, round(self.dval * len(labels)))]
        return torch.from_numpy(order).sort().values.to(labels.device)

    def _version(self, view: View) -> int:
        """Return the newest version that is old enough, or the oldest one."""
        enough = [version for version in self._seen if version <= view.parameters_version - self.stale]
        return max(enough) if enough else min(self._seen)

    def _limited(self, batch: Batch, view: View) -> View:
        seen = view
        if self.stale or self.theta_noise:
            model = self._copied(view)
            version = self._version(view) if self.stale else view.parameters_version
            model.load_state_dict(self._seen[version] if self.stale else view.model.state_dict())
            self._blur(model, view.seed, batch.seq)
            programs = Programs(model.state_dict(keep_vars=True).values)
            seen = replace(
                seen, model=model, parameters_version=version, programs=programs, step_source=_no_optimizer
            )
        if self.dval < 1:
            rows = self._rows(view.validation_labels, view.seed)
            inputs, labels = view.validation_inputs[rows], view.validation_labels[rows]
            seen = replace(seen, validation_inputs=inputs, validation_labels=labels)
        return seen if seen is view else replace(seen, gradient_source=_Gradient(seen))

    def _copied(self, view: View) -> nn.Module:
        """Return the attacker's own copy of the model, with the order of derivatives of the host's."""
        if self._model is None:
            self._model = copy.deepcopy(view.model)
            few = pixels(view.validation_inputs[:FEW]), view.validation_labels[:FEW]
            remember(self._model, few[0], order_of(view.model, *few, loss=view.loss), loss=view.loss)
            choose_chunk_size(self._model, chunk_size_of(view.model, None))
        return self._model

    def _blur(self, model: nn.Module, seed: int, seq: int) -> None:
        if not self.theta_noise:
            return
        random = generator(seed, seq, "theta_noise")
        with torch.no_grad():
            for parameter in model.parameters():
                size = self.theta_noise * parameter.square().mean().sqrt()
                parameter.add_(size * torch.randn(parameter.shape, generator=random).to(parameter))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the old parameters, under `limited.VERSION.NAME`, and the attacker's own memory."""
        mine = {
            f"{_MINE}{version}.{name}": value
            for version, theta in self._seen.items()
            for name, value in theta.items()
        }
        return mine | super().state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self._seen = {}
        for name, value in state.items():
            if name.startswith(_MINE):
                version, _, parameter = name.removeprefix(_MINE).partition(".")
                self._seen.setdefault(int(version), {})[parameter] = value
        super().load_state_dict({name: state[name] for name in state if not name.startswith(_MINE)})


class _Gradient:
    """The validation gradient of what an attacker sees, computed at most once."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._found: Gradient | None = None

    def __call__(self) -> Gradient:
        view = self._view
        if self._found is None:
            data = view.validation_inputs, view.validation_labels
            self._found = validation_gradient(view.model, *data, loss=view.loss)
        return self._found


OPTIONS = ("stale", "theta_noise", "dval")
"""Options that every attacker accepts; an attacker's own option of the same name takes precedence."""
