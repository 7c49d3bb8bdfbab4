"""Short games in this process on one device, and what is left of them."""

import torch
from services import tiny
from torch import Tensor

from midstream.mathematics.graphs.capturing import switch
from midstream.players.referee import restore, state_of
from midstream.protocol.checks import check_batch
from midstream.protocol.specification import Specification
from midstream.protocol.wire import tensors_sha256
from midstream.run.batches import BatchSource
from midstream_proxy.attack import AttackSettings
from midstream_proxy.reading.local_game import LocalGame
from midstream_proxy.white_box import AttackedRun
from midstream_server.runs.training import TrainingRun


class Game:
    """The tiny game on a device, step by step."""

    def __init__(self, device: torch.device, attacker: str = "level-1", defender: str = "level-1") -> None:
        specification = Specification.model_validate(tiny.SPECIFICATION | {"defender": defender})
        split = tiny.split()
        self.run = TrainingRun(specification, split, device=device)
        self.run.prepare()
        self.attacked = AttackedRun(
            LocalGame(self.run),
            AttackSettings(attacker, device=device, allowed=None),
            batches=BatchSource(specification, split.train),
        )
        self.attacked.prepare()
        self.batches = BatchSource(specification, split.train)

    def step(self) -> Tensor:
        """Play one batch, and return its attacked inputs."""
        seq, run = self.run.step, self.run
        sent = self.attacked.attack(self.batches.batch(seq))
        run.train(
            check_batch(
                sent,
                seq=seq,
                length=len(sent.labels),
                input_shape=run.input_shape,
                classes=len(run.classes),
            )
        )
        return sent.inputs

    def parameters_sha256(self) -> str:
        """Return the fingerprint of the parameters."""
        return tensors_sha256(self.run.parameters())


def played(
    device: torch.device,
    attacker: str = "level-1",
    defender: str = "level-1",
    *,
    steps: int = 3,
    capture: bool = False,
) -> str:
    """Play a game, and return the fingerprint of the parameters and of the last batch."""
    switch(capture)
    try:
        game = Game(device, attacker, defender)
        last = [game.step() for _ in range(steps)][-1]
        return tensors_sha256({**game.run.parameters(), "the last batch": last})
    finally:
        switch(True)


def resumed(device: torch.device, *, steps: int = 4) -> tuple[str, str]:
    """Play a game as one, and in two halves of which the second starts from the state of the first."""
    whole, first, second = (Game(device) for _ in range(3))
    for _ in range(steps):
        whole.step()
    for _ in range(steps // 2):
        first.step()
    state = {name: value.cpu().clone() for name, value in first.run.state_dict().items()}
    memory = {name: value.cpu().clone() for name, value in state_of(first.attacked.player).items()}
    second.run.load_state_dict(state, step=steps // 2)
    restore(second.attacked.player, memory)
    for _ in range(steps - steps // 2):
        second.step()
    return whole.parameters_sha256(), second.parameters_sha256()
