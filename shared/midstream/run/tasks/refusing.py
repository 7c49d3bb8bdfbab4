"""Refuses what needs classes in a run that has none."""

from midstream.players.course import members
from midstream.plugins.naming import PluginError
from midstream.tasks.task import Kind


def refuse_target(target: int | None, task: Kind) -> None:
    """Refuse a target class in a run without classes.

    Raises:
        ValueError: there is a target, and the task is not classification.
    """
    if target is not None and task != "classification":
        raise ValueError(
            f"target is class {target}, but the task is {task}, which has no classes; leave it out"
        )


def refuse_needs_classes(role: str, name: str, player: object, task: Kind) -> None:
    """Refuse a player that needs classes if the task is not classification.

    A player says so by `needs_classes`, an attribute or a property: true, or the reason as text. A plug-in
    that does not say is taken to play any task.

    Args:
        role: `attacker`, `defender` or `checker`.
        name: the player's name.
        player: the player; its `parts` and the attacker `inner` to it count, too.
        task: what the run learns.

    Raises:
        midstream.plugins.PluginError: the message names the player and says why.
    """
    if task == "classification":
        return
    for one in members(player):
        if needs := getattr(one, "needs_classes", False):
            why = needs if isinstance(needs, str) else "it works with classes"
            raise PluginError(f"{role} {name!r} does not play {task}: {why}, and this run has none")
