"""What is checked of a player, and what is said of it."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

import torch

from midstream.command.bench.game import Role
from midstream.command.bench.witness import Move, Touchable, Witness

Outcome = Literal["passed", "note", "failed"]


@dataclass(frozen=True)
class Check:
    """One thing that was checked.

    Attributes:
        name: what.
        outcome: `failed` breaks a rule, `note` is worth knowing.
        detail: what was found, and what to do about it.
        figures: the numbers in it, by name.
    """

    name: str
    outcome: Outcome
    detail: str
    figures: dict[str, float] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


_SLACK = 1 + 1e-4  # a float32 norm of what was scaled to ε

_MENDED: dict[Touchable, str] = {
    "parameters": "the model's parameters or buffers; work on copy.deepcopy(view.model), or by "
    "torch.func.functional_call",
    "mode": "the model's mode; it is in evaluation mode and must stay there",
    "requires_grad": "what of the model requires a gradient; work on copy.deepcopy(view.model)",
    "validation": "view.validation_inputs or view.validation_labels; clone them before writing",
    "validation gradient": "what view.validation_gradient() returned, which the other side shares; clone it "
    "before writing",
    "moments": "what view.training_step() returned: the optimizer's own moments; clone them before writing",
}
_HARMLESS: dict[Touchable, str] = {
    "gradients": "left .grad on the model's parameters; the host clears it, torch.autograd.grad leaves none",
    "batch": "wrote into its batch, which is its own copy: the host adds what is returned to the original",
}


def budget(moves: list[Move]) -> Check:
    """Say how much of its budget a player asks for, and whether the host had to project."""
    shares = torch.cat([move.shares for move in moves])
    largest, mean = shares.max().item(), shares.mean().item()
    over = (shares > _SLACK).double().mean().item()
    figures = {"largest_share": largest, "mean_share": mean, "projected": over}
    asked = f"asks for {mean:.3g} ε on average and {largest:.3g} ε at most"
    if largest == 0:
        return Check("budget", "note", "it moves nothing", figures)
    if over:
        what = f"{asked}; the host projects {over:.0%} of its moves onto ε: of these, the direction counts"
        return Check("budget", "note", what, figures)
    return Check("budget", "passed", f"{asked}; the host has nothing to project", figures)


def untouched(witness: Witness) -> Check:
    """Say whether a player left what it was shown as it was."""
    broken = [f"it changed {_MENDED[what]}" for what in witness.touched if what in _MENDED]
    if broken:
        first = min(seq for what, seq in witness.touched.items() if what in _MENDED)
        return Check("untouched", "failed", f"first at batch {first}: {'; and '.join(broken)}")
    if harmless := [_HARMLESS[what] for what in witness.touched]:
        return Check("untouched", "note", f"it {'; and it '.join(harmless)}")
    return Check("untouched", "passed", "model, validation data, gradient and batch are as they were")


def repeats(moves: list[Move], again: list[Move]) -> Check:
    """Say whether a fresh player, with the same seed, makes the same moves to the bit.

    Args:
        moves: those of the game.
        again: the first of them, made by another object of its class.
    """
    name = "determinism"
    apart = _first_difference(moves, again)
    if apart is not None:
        seq, distance = apart
        what = (
            f"with the same seed, a fresh player moved batch {seq} otherwise, by up to {distance:.3g}. Draw "
            "from view.generator(batch.seq), not from torch's, numpy's or Python's own numbers; keep what it "
            "remembers in self; and let nothing depend on the time or on other runs"
        )
        return Check(name, "failed", what, {"first_batch": seq, "difference": distance})
    first = moves[0].perturbation
    for seq, move in enumerate(moves[1:], start=1):
        if first.any() and torch.equal(move.perturbation, first):
            what = (
                f"the moves repeat to the bit, but that of batch {seq} is that of batch 0, on other images: "
                "if it is meant to be random, draw from view.generator(batch.seq)"
            )
            return Check(name, "note", what)
    return Check(name, "passed", f"a fresh player repeats its first {len(again)} moves to the bit")


def survives(witness: Witness, resumed: list[Move], *, after: int, unseen: list[str]) -> Check:
    """Say whether a player that was restarted in the middle goes on as if it had not been.

    Args:
        witness: the player at the end of the game.
        resumed: the moves after the restart, made by another object of its class that was given the state.
        after: how many moves were made before it.
        unseen: names in the state whose tensors changed without the host's seeing it.
    """
    name = "memory"
    remembers = hasattr(witness.player, "state_dict")
    if unseen:
        what = (
            f"the host did not see {', '.join(map(repr, unseen))} of state_dict() change: a tensor that "
            "shares its memory with a numpy array. Return a fresh tensor, such as torch.tensor(array)"
        )
        return Check(name, "failed", what)
    apart = _first_difference(witness.moves[after:], resumed)
    if apart is not None:
        what = f"restarted after {after} batches, its next moves differ by up to {apart[1]:.3g}: " + (
            "state_dict() leaves out something that they depend on"
            if remembers
            else "it remembers something. Give it state_dict() and load_state_dict(state)"
        )
        return Check(name, "failed", what, {"difference": apart[1]})
    kept = f"its state, {len(witness.state())} tensors," if remembers else "it has no memory, and"
    return Check(name, "passed", f"{kept} lets a restarted player go on to the bit")


def training(witness: Witness, again: Witness) -> Check:
    """Say whether a fresh player, with the same seed, has the model trained on the same batches to the bit.

    The host has checked their shapes, pixel range and labels.

    Args:
        witness: the player at the end of the game.
        again: another object of its class, after fewer batches.
    """
    name = "training"
    for (what, batch), (_, other) in zip(witness.trained_on, again.trained_on, strict=False):
        if not (_same(batch.inputs, other.inputs) and _same(batch.labels, other.labels)):
            how = f"with the same seed, a fresh player {what} otherwise at batch {batch.seq}"
            what = f"{how}. Draw from view.generator(batch.seq)"
            return Check(name, "failed", what, {"first_batch": batch.seq})
    figures = {
        kind: float(sum(what == kind for what, _ in witness.trained_on))
        for kind in ("augmented", "rehearsed")
    }
    counts = ", ".join(f"{number:g} {kind}" for kind, number in figures.items())
    what = f"batches: {counts}; each fit to be trained on, and a fresh player repeats the first to the bit"
    return Check(name, "passed", what, figures)


def speed(moves: list[Move], plain: float) -> Check:
    """Say how long a move takes, in plain training steps of `plain` seconds each."""
    seconds = median(move.seconds for move in moves)
    figures = {"seconds": seconds, "step_seconds": plain, "ratio": seconds / plain}
    what = f"{1000 * seconds:.3g} ms a move, {seconds / plain:.3g} times a training step of this game"
    return Check("speed", "passed", what, figures)


@dataclass(frozen=True)
class Losses:
    """Validation losses at the end of the game, nats an example: with this player, with none, with noise."""

    player: float
    nobody: float
    noise: float


def effect(role: Role, losses: Losses) -> Check:
    """Say what a player makes of the validation loss, against nobody in its place, and against noise."""
    figures = {"validation_loss": losses.player, "nobody": losses.nobody, "noise": losses.noise}
    what = (
        f"validation loss {losses.player:.3g}; with nobody in its place {losses.nobody:.3g}, "
        f"with random noise {losses.noise:.3g}"
    )
    if role == "attacker" and losses.player <= max(losses.nobody, losses.noise):
        return Check("effect", "note", f"{what}: as an attack it does no more than noise", figures)
    if role == "defender" and losses.player >= min(losses.nobody, losses.noise):
        return Check("effect", "note", f"{what}: against level 1 it wins nothing back", figures)
    return Check("effect", "passed", what, figures)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one, other)


def _first_difference(moves: list[Move], others: list[Move]) -> tuple[int, float] | None:
    for seq, (move, other) in enumerate(zip(moves, others, strict=False)):
        if not torch.equal(move.perturbation, other.perturbation):
            return seq, (move.perturbation - other.perturbation).abs().max().item()
    return None
