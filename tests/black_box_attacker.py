"""A black-box attacker of the tiny run."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from services import tiny

from midstream.protocol.specification import Specification
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.surrogates.black_box import BlackBoxRun
from midstream_proxy.surrogates.surrogate import SurrogateSettings
from midstream_server.runs.training import TrainingRun

EPOCHS = 4
HIDDEN = Specification.model_validate(tiny.SPECIFICATION | {"access": "black-box"})
CPU = torch.device("cpu")


@dataclass
class Attacker:
    """A black-box attacker of the tiny run, and what it told of its surrogate's training."""

    cache: Path
    attacker: str = "level-1,beta=0.5"
    epsilon: float = 1.5
    surrogate: SurrogateSettings = field(default_factory=lambda: SurrogateSettings(epochs=EPOCHS))
    run: Specification = HIDDEN
    said: list[str] = field(default_factory=list)
    told: list[int] = field(default_factory=list)

    def starts(self, *, stops: int | None = None, **more: Any) -> BlackBoxRun:
        """Return it at work on the run; or interrupt it after a step of its surrogate's training."""

        def tell(step: int, *_: object) -> None:
            self.told.append(step)
            if step == stops:
                raise InterruptedError

        surrogate = replace(self.surrogate, cache=self.cache)
        settings = AttackSettings(self.attacker, self.epsilon, surrogate=surrogate, **more)
        game = LocalGame(TrainingRun(self.run, tiny.split(), device=CPU))
        self.told.clear()
        return BlackBoxRun(game, settings, tell=tell, say=self.said.append)
