"""One player on the bench: it plays the tiny game, once more, and restarted; and each rule is checked."""

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

Tell = Callable[[int, str], None]
"""Told how many of `WORK` steps are done, and in a few words with what."""

RESTART = 12
"""The player is restarted after so many steps: three visits of each example."""

FEW = 8
"""So many moves are compared after the restart."""

WORK = 3 * STEPS + RESTART + FEW


def check_player(role: Role, text: str, *, tell: Tell = lambda *_: None) -> list[Check]:
    """Play a player on one side of the tiny game; return what was found, in the order it was checked.

    The first check is that it can play at all; where it cannot, there are hardly any others.

    Args:
        role: the side.
        text: its name and options.
        tell: told how it goes.

    Raises:
        midstream.plugins.PluginError: there is no such player, or it cannot be made.
    """
    game = TinyGame(role, text)
    try:
        return list(_checks(role, text, game, tell))
    except Exception as error:
        # A player that broke the model may have the host fail after it, in any way.
        if not (game.witness.touched or isinstance(error, (PlayerError, DivergedError))):
            raise
        checks = [Check("moves", "failed", str(error))]
        return checks + [untouched(game.witness)] * bool(game.witness.touched)


def _checks(role: Role, text: str, game: TinyGame, tell: Tell) -> Iterator[Check]:
    witness, memory = game.witness, AttackMemory()
    tell(0, "the game")
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

    tell(STEPS, "the game once more")
    again = TinyGame(role, text)
    again.play(RESTART)
    repeated = repeats(witness.moves, again.witness.moves)
    more = [training(witness, again.witness)] if witness.trains_on_more else []
    tell(STEPS + RESTART, "a restart")
    if repeated.outcome == "failed":
        remembered = Check("memory", "note", "not checked: no restart can be told where moves do not repeat")
    else:
        restarted = TinyGame(role, text)
        try:
            restarted.resume(trained, seen, step=RESTART)
            restarted.play(FEW)
        except Exception as error:
            what = f"restarted after {RESTART} batches, it could not go on: {error!r}"
            remembered = Check("memory", "failed", what)
        else:
            remembered = survives(witness, restarted.witness.moves, after=RESTART, unseen=unseen)

    tell(STEPS + RESTART + FEW, "nobody in its place")
    nobody, plain = _reference(role, "none")
    tell(2 * STEPS + RESTART + FEW, "noise in its place")
    noise, _ = _reference(role, NOISE)
    yield Check("moves", "passed", f"{len(witness.moves)} moves, each finite and of its batch's shape")
    yield budget(witness.moves)
    yield untouched(witness)
    yield repeated
    yield remembered
    yield from more
    yield speed(witness.moves, plain)
    yield effect(role, Losses(game.evaluate().validation_loss, nobody, noise))


@cache
def _reference(role: Role, text: str) -> tuple[float, float]:
    """Return the validation loss with another player in its place, and the seconds a training step took."""
    game = TinyGame(role, text)
    game.play(STEPS)
    return game.evaluate().validation_loss, median(game.seconds)
