"""The runs of a game that was asked for on the dashboard: who plays in each, and its name."""

from collections.abc import Callable
from dataclasses import dataclass

from midstream.protocol.messages.games import AttackerName, DefenderName, GameRequest
from midstream.protocol.problem import Problem
from midstream.protocol.specification import Specification

_NAMES = {
    (False, False): "clean",
    (True, False): "attacked",
    (True, True): "defended",
    (False, True): "only-defended",
}


@dataclass(frozen=True)
class Plan:
    """One run to be started.

    Attributes:
        attacker: its attacker.
        specification: its settings, with its name.
    """

    attacker: AttackerName
    specification: Specification


def plans_of(request: GameRequest, taken: Callable[[str], bool]) -> list[Plan]:
    """Return the runs that a request asks for, with names of which none is taken.

    >>> request = GameRequest(attacker="level-1", defender="level-1", compare=True)
    >>> [plan.specification.name for plan in plans_of(request, lambda name: name == "clean")]
    ['clean-2', 'attacked-2', 'defended-2']

    Args:
        request: what was asked for.
        taken: whether a run has a name already.

    Raises:
        Problem: 422 if there is nothing to compare.
    """
    attacker, defender = request.attacker, request.defender
    if request.compare and "none" in (attacker, defender):
        raise Problem(
            422,
            "The request is invalid",
            "three games compare a clean, an attacked and a defended run: choose an attacker and a defender",
        )
    pairs: list[tuple[AttackerName, DefenderName]] = [(attacker, defender)]
    if request.compare:
        pairs = [("none", "none"), (attacker, "none"), (attacker, defender)]
    stems = [_NAMES[one != "none", other != "none"] for one, other in pairs]
    number = 1
    while any(taken(_numbered(stem, number)) for stem in stems):
        number += 1
    return [
        Plan(one, _specification(request, other, _numbered(stem, number)))
        for (one, other), stem in zip(pairs, stems, strict=True)
    ]


def _numbered(stem: str, number: int) -> str:
    return stem if number == 1 else f"{stem}-{number}"


def _specification(request: GameRequest, defender: DefenderName, name: str) -> Specification:
    chosen = {"epsilon": request.epsilon, "epochs": request.epochs}
    given = {key: value for key, value in chosen.items() if value is not None}
    fields = {"name": name, "dataset": request.dataset, "defender": defender, "seed": request.seed}
    return Specification.model_validate(fields | given)
