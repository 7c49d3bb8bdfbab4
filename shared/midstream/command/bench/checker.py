"""Check one checker: it judges a tiny game, judges it again and is restarted, and each rule is checked."""

import time
from collections.abc import Iterator
from statistics import median

import numpy as np
import torch

from midstream import plugins
from midstream.command.bench.bench import FEW, RESTART, Follow
from midstream.command.bench.checks import Check, speed_of, untouched
from midstream.command.bench.game import STEPS, TinyGame
from midstream.command.bench.witness import Seen, Touchable
from midstream.command.runs.detection import auc
from midstream.players.checking import Checker
from midstream.players.interface import Batch, View
from midstream.players.referee import PlayerError, restore, state_of
from midstream.players.remembering import remembers
from midstream.players.scores.suspicion import Suspicion


class WatchedChecker:
    """A wrapper that watches a checker.

    Args:
        checker: the watched checker.

    Attributes:
        parts: the checker, so that it learns what it must before the game.
        found: what it said about each batch.
        seconds: how long it took.
        touched: the inputs that it changed, each with the number of the first such batch.
    """

    def __init__(self, checker: Checker) -> None:
        self.parts = (checker,)
        self.found: list[Suspicion] = []
        self.seconds: list[float] = []
        self.touched: dict[Touchable, int] = {}

    def judge(self, batch: Batch, view: View) -> Suspicion:
        """Return what the checker says."""
        seen, started = Seen(batch, view), time.perf_counter()
        found = self.parts[0].judge(batch, seen.view)
        self.seconds.append(time.perf_counter() - started)
        self.found.append(found)
        for what in seen.changed():
            self.touched.setdefault(what, batch.seq)
        return found


def check_checker(text: str, *, tell: Follow = lambda *_: None) -> list[Check]:
    """Have a checker judge the tiny game, a third of which level 1 attacks; return the results of the checks.

    Raises:
        midstream.plugins.PluginError: there is no such checker, or it cannot be constructed.
    """
    watched = WatchedChecker(plugins.make_gate(text).checker)
    try:
        return list(_checks(text, watched, tell))
    except PlayerError as error:
        checks = [Check("moves", "failed", str(error))]
        return checks + [untouched(watched)] * bool(watched.touched)


def _checks(text: str, watched: WatchedChecker, tell: Follow) -> Iterator[Check]:
    tell(0, "game")
    game = TinyGame("checker", text, checker=watched)
    game.play(RESTART)
    trained = game.training_state()
    memory = {name: value.clone() for name, value in state_of(watched.parts[0]).items()}
    game.play(STEPS - RESTART)
    yield Check("moves", "passed", f"{len(watched.found)} batches, each with a finite suspicion per example")
    yield untouched(watched)

    tell(STEPS, "repeated game")
    again = WatchedChecker(plugins.make_gate(text).checker)
    TinyGame("checker", text, checker=again).play(RESTART)
    first = _difference(watched.found, again.found)
    yield (
        Check("determinism", "passed", "a new checker with the same seed says the same, to the bit")
        if (first is None)
        else Check(
            "determinism",
            "failed",
            f"with the same seed, a new checker judges batch {first} differently. Draw from "
            f"view.generator(batch.seq)",
        )
    )

    tell(STEPS + RESTART, "restart")
    resumed = WatchedChecker(plugins.make_gate(text).checker)
    restarted = TinyGame("checker", text, checker=resumed)
    restarted.train_from(trained, step=RESTART)
    restore(resumed.parts[0], memory)
    restarted.play(FEW)
    apart = None if first is not None else _difference(watched.found[RESTART:], resumed.found)
    if apart is None:
        what = "its state is complete" if remembers(watched.parts[0]) else "it has no memory"
        yield Check("memory", "passed", f"{what}: after a restart, it says the same, to the bit")
    else:
        what = "state_dict() lacks something" if remembers(watched.parts[0]) else "it lacks a state_dict()"
        yield Check(
            "memory", "failed", f"after a restart, it judges batch {RESTART + apart} otherwise: {what}"
        )
    yield speed_of(watched.seconds, median(game.seconds))
    yield _effect(watched.found, game.attacked)


def _difference(ours: list[Suspicion], theirs: list[Suspicion]) -> int | None:
    for seq, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if not torch.equal(one.examples, other.examples) or not torch.equal(one.batch, other.batch):
            return seq
    return None


def _effect(found: list[Suspicion], attacked: list[torch.Tensor]) -> Check:
    """Compare the suspicion of attacked examples to that of clean ones."""
    suspicion = np.concatenate([one.examples.detach().cpu().numpy() for one in found])
    truth = torch.cat(attacked).numpy()
    area = auc(suspicion[truth], suspicion[~truth])
    clean = float((suspicion[~truth] > 0.95).mean())
    what = f"AUC {area:.3f} against level 1; {clean:.1%} of the clean examples above the threshold 0.95"
    figures = {"auc": area, "false_alarms": clean}
    if area <= 0.5:
        return Check("effect", "note", f"{what}: it finds level 1 no better than chance", figures)
    return Check("effect", "passed", what, figures)
