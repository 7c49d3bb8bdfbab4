"""Players that learn before the game, small enough to see through: a constant image, fitted step by step."""

from dataclasses import dataclass, field
from threading import Event

import torch
from torch import Tensor, nn

from midstream import Batch, View
from midstream.players.course import Course, Ground


class Image(nn.Module):
    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.pixels = nn.Parameter(torch.randn(like.shape, device=like.device))


@dataclass(kw_only=True)
class Constant:
    """Moves every input the same way: by an image fitted to the mean of the data, with a little noise."""

    steps: int = 20
    rate: float = 0.1
    image: Image = field(init=False, repr=False)

    def data(self, ground: Ground) -> Tensor:
        return ground.validation_inputs

    def course(self, ground: Ground) -> Course:
        inputs = self.data(ground)
        self.image = image = Image(inputs[0])
        optimizer = torch.optim.Adam(image.parameters(), lr=self.rate)

        def step(_: int) -> float:
            noisy = inputs + 0.1 * torch.randn_like(inputs)
            loss: Tensor = (noisy - image.pixels).square().mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            return loss.item()

        return Course(repr(self), {"image": image, "optimizer": optimizer}, self.steps, step)

    def perturb(self, batch: Batch, view: View) -> Tensor:  # noqa: ARG002
        return self.image.pixels.detach().expand_as(batch.inputs)


class FromTrain(Constant):
    """The same of the training data, which an attacker possesses."""

    def data(self, ground: Ground) -> Tensor:
        return ground.train()[0]


class Diverging(Constant):
    """Loses its way."""

    def course(self, ground: Ground) -> Course:
        course = super().course(ground)
        return Course(course.settings, course.parts, course.steps, lambda _: float("nan"))


class Broken(Constant):
    """Fails at the third step."""

    def course(self, ground: Ground) -> Course:
        course = super().course(ground)

        def step(number: int) -> float:
            if number == 2:
                raise KeyError("no idea")
            return course.step(number)

        return Course(course.settings, course.parts, course.steps, step)


class Held(Constant):
    """Learns while it is let."""

    let = Event()

    def course(self, ground: Ground) -> Course:
        course = super().course(ground)

        def step(number: int) -> float:
            assert number < 3 or self.let.wait(120)
            return course.step(number)

        return Course(course.settings, course.parts, course.steps, step)
