"""Players that break a rule each, as a plug-in's author might without noticing."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from midstream import Batch, View


class Good:
    """Moves each image along the mean of its own, as another process would."""

    def __init__(self, share: float = 0.5) -> None:
        self.share = share

    def perturb(self, batch: Batch, view: View) -> Tensor:
        return self.share * view.budget.epsilon * view.budget.direction(batch.inputs.mean() - batch.inputs)


class Greedy(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        return 8 * super().perturb(batch, view)


class Idle(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        return torch.zeros_like(batch.inputs)


class Breaks(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        if batch.seq == 2:
            raise KeyError("weight")
        return super().perturb(batch, view)


class WritesParameters(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        with torch.no_grad():
            next(view.model.parameters()).mul_(0.5)
        return super().perturb(batch, view)


class SwitchesMode(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        view.model.train(batch.seq > 0)
        return super().perturb(batch, view)


class Freezes(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        view.model.requires_grad_(False)
        return super().perturb(batch, view)


class WritesValidation(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        view.validation_inputs[0] = batch.inputs[0]
        return super().perturb(batch, view)


class WritesGradient(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        for value in view.validation_gradient().values():
            value.neg_()
        return super().perturb(batch, view)


class WritesMoments(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        for moment in view.training_step().moments.values():
            for value in moment.values():
                value.add_(1)
        return super().perturb(batch, view)


class LeavesGradients(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        F.cross_entropy(view.model(batch.inputs), batch.labels).backward()  # type: ignore[no-untyped-call]
        return super().perturb(batch, view)


class WritesBatch(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        move = super().perturb(batch, view)
        batch.inputs.add_(move)
        return move


class DrawsItsOwn(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        return view.budget.epsilon * view.budget.direction(torch.randn_like(batch.inputs))


class AlwaysTheSame(Good):
    def perturb(self, batch: Batch, view: View) -> Tensor:
        noise = torch.rand(batch.inputs.shape, generator=view.generator(0))
        return view.budget.epsilon * view.budget.direction(noise)


class RemembersInItsClass(Good):
    seen: list[Tensor] = []  # noqa: RUF012

    def perturb(self, batch: Batch, view: View) -> Tensor:
        self.seen.append(batch.inputs.mean())
        return super().perturb(batch, view) * torch.stack(self.seen).mean()


class TellsNothing(Good):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def perturb(self, batch: Batch, view: View) -> Tensor:
        self.count += 1
        return super().perturb(batch, view) / self.count


class Forgets(Good):
    """Has two numbers to remember, and tells of one."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.count = torch.zeros(()), 0

    def perturb(self, batch: Batch, view: View) -> Tensor:
        self.count += 1
        self.mean = self.mean + (batch.inputs.mean() - self.mean) / self.count
        return super().perturb(batch, view) * self.mean

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": self.mean}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.mean = state["mean"]


class Remembers(Forgets):
    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "count": torch.tensor(self.count)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.mean, self.count = state["mean"], int(state["count"])


class SharesWithNumpy(Good):
    def __init__(self) -> None:
        super().__init__()
        self.sum: Any = np.zeros(1, np.float32)
        self.tensor = torch.from_numpy(self.sum)

    def perturb(self, batch: Batch, view: View) -> Tensor:
        self.sum += float(batch.inputs.mean())
        return super().perturb(batch, view) * self.tensor / (1 + batch.seq)

    def state_dict(self) -> dict[str, Tensor]:
        return {"sum": self.tensor}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.sum[:] = state["sum"].numpy()


class CannotGoOn(Remembers):
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.mean, self.count = state["average"], int(state["count"])


class Mixes(Good):
    """Adds noise to what is trained on, and has each epoch's last batch trained on twice."""

    def noise(self, batch: Batch, view: View) -> Tensor:
        return torch.rand(batch.inputs.shape, generator=view.generator(batch.seq))

    def augment(self, batch: Batch, view: View) -> Batch:
        return replace(batch, inputs=(batch.inputs + 0.1 * self.noise(batch, view)).clamp(0, 1))

    def rehearse(self, batch: Batch, view: View) -> Any:
        return [] if (batch.seq + 1) % view.steps_per_epoch else [batch]


class MixesItsOwn(Mixes):
    def noise(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        return torch.rand_like(batch.inputs)


class RehearsesItsOwn(Mixes):
    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        order = torch.randperm(len(batch.labels))
        return [Batch(b.seq, b.inputs[order], b.labels[order]) for b in super().rehearse(batch, view)]


class RehearsesWhatItForgets(Mixes):
    def __init__(self) -> None:
        super().__init__()
        self.first: Batch | None = None

    def rehearse(self, batch: Batch, view: View) -> Sequence[Batch]:
        self.first = self.first or batch
        return [self.first] if super().rehearse(batch, view) else []


class AugmentsShorter(Mixes):
    def augment(self, batch: Batch, view: View) -> Batch:  # noqa: ARG002
        return Batch(batch.seq, batch.inputs[1:], batch.labels[1:])


class RehearsesOne(Mixes):
    def rehearse(self, batch: Batch, view: View) -> Batch:  # noqa: ARG002
        return batch
