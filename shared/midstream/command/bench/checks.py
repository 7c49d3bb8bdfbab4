"""The checks of a player, and their results."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Literal, Protocol

import torch

from midstream.command.bench.game import Role
from midstream.command.bench.witness import Move, Touchable, Witness

Outcome = Literal["passed", "note", "failed"]


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: name of the check.
        outcome: `failed` if a rule is broken, `note` for a remark, else `passed`.
        detail: what was found, and what to do about it.
        figures: the numbers in `detail`, by name.
    """

    name: str
    outcome: Outcome
    detail: str
    figures: dict[str, float] = field(default_factory=dict)

    def described(self) -> dict[str, object]:
        """Return the result as a JSON object."""
        return asdict(self)


_SLACK = 1 + 1e-4  # float32 rounding of the norm of a perturbation scaled to ε

_MENDED: dict[Touchable, str] = {
    "parameters": "the model's parameters or buffers; work on copy.deepcopy(view.model), or by "
    "torch.func.functional_call",
    "mode": "the model's mode; the model must stay in evaluation mode",
    "requires_grad": "requires_grad of the model's parameters; work on copy.deepcopy(view.model)",
    "validation": "view.validation_inputs or view.validation_labels; clone them before writing",
    "validation gradient": "the result of view.validation_gradient(), shared by both sides; clone it before "
    "writing",
    "moments": "the optimizer's moments, returned by view.training_step(); clone them before writing",
}
_HARMLESS: dict[Touchable, str] = {
    "gradients": "left .grad on the model's parameters; the host clears it, torch.autograd.grad avoids it",
    "batch": "wrote into its batch, a copy: the host adds the returned perturbation to the original",
}


def budget(moves: list[Move]) -> Check:
    """Check how much of its budget a player uses, and whether the host had to project."""
    shares = torch.cat([move.shares for move in moves])
    largest, mean = shares.max().item(), shares.mean().item()
    over = (shares > _SLACK).double().mean().item()
    figures = {"largest_share": largest, "mean_share": mean, "projected": over}
    used = f"uses {mean:.3g} ε on average and {largest:.3g} ε at most"
    if largest == 0:
        return Check("budget", "note", "it does not perturb any input", figures)
    if over:
        what = f"{used}; the host projects {over:.0%} of its moves to ε, so only their direction matters"
        return Check("budget", "note", what, figures)
    return Check("budget", "passed", f"{used}; no move needs projection", figures)


class Touched(Protocol):
    """Whoever was watched."""

    @property
    def touched(self) -> Mapping[Touchable, int]:
        """The inputs that it changed, each with the number of the first such batch."""


def untouched(witness: Touched) -> Check:
    """Check that a player does not change its inputs."""
    broken = [f"it changed {_MENDED[what]}" for what in witness.touched if what in _MENDED]
    if broken:
        first = min(seq for what, seq in witness.touched.items() if what in _MENDED)
        return Check("untouched", "failed", f"first at batch {first}: {'; and '.join(broken)}")
    if harmless := [_HARMLESS[what] for what in witness.touched]:
        return Check("untouched", "note", f"it {'; and it '.join(harmless)}")
    return Check("untouched", "passed", "model, validation data, gradient and batch are unchanged")


def repeats(moves: list[Move], again: list[Move]) -> Check:
    """Check that a new player with the same seed makes bit-identical moves.

    Args:
        moves: the moves of the game.
        again: the first moves of another object of the same class.
    """
    name = "determinism"
    apart = _first_difference(moves, again)
    if apart is not None:
        seq, distance = apart
        what = (
            f"with the same seed, a new player moves batch {seq} differently, by up to {distance:.3g}. Draw "
            "from view.generator(batch.seq), not from the global generators of torch, numpy or Python; store "
            "memory in self; and do not depend on the time or on other runs"
        )
        return Check(name, "failed", what, {"first_batch": seq, "difference": distance})
    first = moves[0].perturbation
    for seq, move in enumerate(moves[1:], start=1):
        if first.any() and torch.equal(move.perturbation, first):
            what = (
                f"the moves repeat to the bit, but batches 0 and {seq} get equal moves although their images "
                "differ; if moves should be random, draw from view.generator(batch.seq)"
            )
            return Check(name, "note", what)
    return Check(name, "passed", f"a new player repeats the first {len(again)} moves to the bit")


def survives(witness: Witness, resumed: list[Move], *, after: int, unseen: list[str]) -> Check:
    """Check that a restarted player continues with bit-identical moves.

    Args:
        witness: the player at the end of the game.
        resumed: the moves after the restart, by another object of the same class that got the state.
        after: number of moves before the restart.
        unseen: names in the state whose changes the host did not see.
    """
    name = "memory"
    remembers = hasattr(witness.player, "state_dict")
    if unseen:
        what = (
            f"the host did not see {', '.join(map(repr, unseen))} of state_dict() change: the tensor shares "
            "its memory with a numpy array. Return a new tensor, for example torch.tensor(array)"
        )
        return Check(name, "failed", what)
    apart = _first_difference(witness.moves[after:], resumed)
    if apart is not None:
        what = f"after a restart at batch {after}, its next moves differ by up to {apart[1]:.3g}: " + (
            "state_dict() lacks something that they depend on"
            if remembers
            else "it has memory. Add state_dict() and load_state_dict(state)"
        )
        return Check(name, "failed", what, {"difference": apart[1]})
    state = f"its state of {len(witness.state())} tensors is complete" if remembers else "it has no memory"
    return Check(name, "passed", f"{state}: after a restart, its moves are equal to the bit")


def training(witness: Witness, again: Witness) -> Check:
    """Check that a new player with the same seed augments and rehearses bit-identical batches.

    The host has checked their shapes, pixel range and labels.

    Args:
        witness: the player at the end of the game.
        again: another object of the same class, after fewer batches.
    """
    name = "training"
    for (what, batch), (_, other) in zip(witness.trained_on, again.trained_on, strict=False):
        if not (_same(batch.inputs, other.inputs) and _same(batch.labels, other.labels)):
            how = f"with the same seed, a new player returns a different {what} batch at batch {batch.seq}"
            what = f"{how}. Draw from view.generator(batch.seq)"
            return Check(name, "failed", what, {"first_batch": batch.seq})
    figures = {
        kind: float(sum(what == kind for what, _ in witness.trained_on))
        for kind in ("augmented", "rehearsed")
    }
    counts = ", ".join(f"{number:g} {kind}" for kind, number in figures.items())
    what = f"batches: {counts}; all are valid, and a new player repeats the first ones to the bit"
    return Check(name, "passed", what, figures)


def speed(moves: list[Move], plain: float) -> Check:
    """Measure how long a move takes, relative to a plain training step of `plain` seconds."""
    return speed_of([move.seconds for move in moves], plain)


def speed_of(durations: Sequence[float], plain: float) -> Check:
    """Return the result for moves that took so long; see `speed`."""
    seconds = median(durations)
    figures = {"seconds": seconds, "step_seconds": plain, "ratio": seconds / plain}
    what = f"{1000 * seconds:.3g} ms per move, {seconds / plain:.3g} times a training step of this game"
    return Check("speed", "passed", what, figures)


@dataclass(frozen=True)
class Losses:
    """Final validation losses, in nats per example: with this player, without a player, with noise."""

    player: float
    nobody: float
    noise: float


def effect(role: Role, losses: Losses) -> Check:
    """Compare the validation loss with this player to that without a player and with noise."""
    figures = {"validation_loss": losses.player, "nobody": losses.nobody, "noise": losses.noise}
    what = (
        f"validation loss {losses.player:.3g}; without a player {losses.nobody:.3g}, "
        f"with random noise {losses.noise:.3g}"
    )
    if role == "attacker" and losses.player <= max(losses.nobody, losses.noise):
        return Check("effect", "note", f"{what}: as an attack it is no stronger than noise", figures)
    if role == "defender" and losses.player >= min(losses.nobody, losses.noise):
        return Check("effect", "note", f"{what}: it does not help against level 1", figures)
    return Check("effect", "passed", what, figures)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _first_difference(moves: list[Move], others: list[Move]) -> tuple[int, float] | None:
    for seq, (move, other) in enumerate(zip(moves, others, strict=False)):
        if not torch.equal(move.perturbation, other.perturbation):
            return seq, (move.perturbation - other.perturbation).abs().max().item()
    return None
