"""A small game between the real hosts, in which one player is watched."""

import time
from dataclasses import replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from midstream.command.bench.witness import Witness
from midstream.mathematics.inputs.pixels import pixels
from midstream.players.checking import Checker, Gate
from midstream.players.interface import Batch, View
from midstream.protocol.specification import Specification
from midstream.run.batches import BatchSource, load_split
from midstream.run.datasets import Examples, Source, Split
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.evaluation import Evaluation
from midstream_server.runs.training import TrainingRun

Role = Literal["attacker", "defender", "checker"]

STEPS = 60
LEVEL_1 = {"attacker": "level-1,beta=0", "defender": "level-1"}
IN_PART = "level-1,beta=0,fraction=0.33"
"""What attacks a checker's game."""
NOISE = f"{__name__}:Noise"

_CPU = torch.device("cpu")
_SPECIFICATION = Specification.model_validate(
    {
        "dataset": "digits",
        "model": "digits-cnn",
        "train_size": 190,  # three batches of 50 and one of 40: batch sizes differ on purpose
        "validation_size": 100,
        "batch_size": 50,
        "epochs": STEPS // 4,
        "learning_rate": 0.003,
    }
)


class Noise:
    """Random directions at the full budget: the baseline that any attack or defence must beat."""

    def perturb(self, batch: Batch, view: View) -> Tensor:
        """Return `ε e(noise)`."""
        noise = torch.randn(batch.inputs.shape, generator=view.generator(batch.seq))
        return view.budget.epsilon * view.budget.direction(noise.to(batch.inputs))


class TinyGame:
    """A game of 60 Adam steps on 190 digits. An attacker plays without a defender, a defender plays
    against level 1.

    Args:
        role: side of the watched player.
        text: its name and options.
        checker: the watched checker, for the role `checker`.

    Attributes:
        witness: the watched player; without a meaning for a checker.
        attacked: which examples of each batch were altered.
        seconds: duration of each training step, including the defender's move.

    Raises:
        midstream.plugins.PluginError: there is no such player.
    """

    def __init__(self, role: Role, text: str, *, checker: Checker | None = None) -> None:
        attacker = text if role == "attacker" else IN_PART if role == "checker" else LEVEL_1["attacker"]
        defender = text if role == "defender" else "none"
        known = _split()
        # A copy: a player that writes into the validation data must not affect other games.
        validation = Examples(known.validation.inputs.clone(), known.validation.labels.clone())
        split = replace(known, validation=validation)
        specification = _SPECIFICATION.model_copy(update={"defender": defender})
        gate = None if checker is None else Gate(name=text, checker=checker)
        self._run = TrainingRun(specification, split, device=_CPU, gate=gate)
        self._run.prepare()
        # The attacker computes its own validation gradient, so that the timing of a move includes it.
        settings = AttackSettings(attacker, gradient="own", device=_CPU, allowed=None)
        self._attacked = AttackedRun(LocalGame(self._run), settings)
        self._attacked.prepare()
        self._batches = BatchSource(specification, split.train)
        self.seconds: list[float] = []
        self.attacked: list[Tensor] = []
        if role == "attacker":
            self.witness = self._attacked.player = Witness(self._attacked.player)
        else:
            self.witness = self._run.defender = Witness(self._run.defender)

    @property
    def step(self) -> int:
        """Number of steps taken."""
        return self._run.step

    def play(self, steps: int) -> None:
        """Take `steps` steps.

        Raises:
            midstream.players.referee.PlayerError: a player broke its rules.
            midstream.run.training.DivergedError: the training diverged.
        """
        for seq in range(self.step, self.step + steps):
            clean = self._batches.batch(seq)
            attacked = self._attacked.attack(clean)
            self.attacked.append((attacked.inputs != pixels(clean.inputs)).flatten(1).any(1))
            started = time.perf_counter()
            self._run.train(Batch(seq, pixels(attacked.inputs), attacked.labels))
            self.seconds.append(time.perf_counter() - started)

    def evaluate(self) -> Evaluation:
        """Evaluate the current model."""
        return self._run.evaluate()

    def training_state(self) -> dict[str, Tensor]:
        """Return a copy of the training state, without the players' states."""
        state = self._run.state_dict()
        return {
            name: value.clone()
            for name, value in state.items()
            if not name.startswith(("defender.", "checker."))
        }

    def resume(self, training: dict[str, Tensor], memory: dict[str, Tensor], *, step: int) -> None:
        """Restore another game's training state and the watched player's memory."""
        self.train_from(training, step=step)
        self.witness.restore(memory)

    def train_from(self, training: dict[str, Tensor], *, step: int) -> None:
        """Restore another game's training state."""
        self._run.load_state_dict(training, step=step)


@cache
def _split() -> Split:
    return load_split(_SPECIFICATION, Source())
