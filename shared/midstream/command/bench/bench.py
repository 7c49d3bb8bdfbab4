"""Check one player: it plays a tiny game, repeats it and is restarted, and each rule is checked."""

from collections.abc import Callable, Iterator
from functools import cache
from statistics import median

import torch

from midstream.command.bench.checks import (
    Check,
    Losses,
    budget,
    effect,
    repeats,
    speed,
    survives,
    training,
    untouched,
)
from midstream.command.bench.game import NOISE, STEPS, Role, TinyGame
from midstream.players.referee import PlayerError
from midstream.players.remembering import memory_of
from midstream.run.training import DivergedError
from midstream_proxy.memory.attack_memory import AttackMemory

Follow = Callable[[int, str], None]
"""Progress callback: number of `WORK` steps done, and the current stage."""

RESTART = 12
"""Number of steps before the player is restarted: three visits of each example."""

FEW = 8
"""Number of moves compared after the restart."""

WORK = 3 * STEPS + RESTART + FEW


def check_player(role: Role, text: str, *, tell: Follow = lambda *_: None) -> list[Check]:
    """Play a player on one side of the tiny game and return the results of the checks, in order.

    The first check is whether the player can play at all. If it cannot, most other checks are omitted.

    Args:
        role: the side.
        text: the player's name and options.
        tell: called with the progress.

    Raises:
        midstream.plugins.PluginError: there is no such player, or it cannot be constructed.
    """
    game = TinyGame(role, text)
    try:
        return list(_checks(role, text, game, tell))
    except Exception as error:
        # If the player changed the model, the host may fail later with any error.
        if not (game.witness.touched or isinstance(error, (PlayerError, DivergedError))):
            raise
        checks = [Check("moves", "failed", str(error))]
        return checks + [untouched(game.witness)] * bool(game.witness.touched)


def _checks(role: Role, text: str, game: TinyGame, tell: Follow) -> Iterator[Check]:
    witness, memory = game.witness, AttackMemory()
    tell(0, "game")
    memory.begin({"run": text})
    memory.start(memory_of(text, witness.player))
    for step in range(RESTART):
        game.play(1)
        answer = memory.store(step, b"", b"", memory_of(text, witness.player), kept_from=step)
        memory.acknowledge(answer.number)
    trained, before, seen = game.training_state(), witness.state(), memory.state()
    memory.close()
    unseen = [name for name in seen if not torch.equal(seen[name], before[name].cpu())]
    game.play(STEPS - RESTART)

    tell(STEPS, "repeated game")
    again = TinyGame(role, text)
    again.play(RESTART)
    repeated = repeats(witness.moves, again.witness.moves)
    more = [training(witness, again.witness)] if witness.trains_on_more else []
    tell(STEPS + RESTART, "restart")
    if repeated.outcome == "failed":
        remembered = Check("memory", "note", "not checked: a restart needs moves that repeat")
    else:
        restarted = TinyGame(role, text)
        try:
            restarted.resume(trained, seen, step=RESTART)
            restarted.play(FEW)
        except Exception as error:
            what = f"after a restart at batch {RESTART}, it failed to continue: {error!r}"
            remembered = Check("memory", "failed", what)
        else:
            remembered = survives(witness, restarted.witness.moves, after=RESTART, unseen=unseen)

    tell(STEPS + RESTART + FEW, "game without a player")
    nobody, plain = _reference(role, "none")
    tell(2 * STEPS + RESTART + FEW, "game with noise")
    noise, _ = _reference(role, NOISE)
    yield Check("moves", "passed", f"{len(witness.moves)} moves, each finite and with its batch's shape")
    yield budget(witness.moves)
    yield untouched(witness)
    yield repeated
    yield remembered
    yield from more
    yield speed(witness.moves, plain)
    yield effect(role, Losses(game.evaluate().validation_loss, nobody, noise))


@cache
def _reference(role: Role, text: str) -> tuple[float, float]:
    """Return the final validation loss with a reference player, and the median seconds per training step."""
    game = TinyGame(role, text)
    game.play(STEPS)
    return game.evaluate().validation_loss, median(game.seconds)
