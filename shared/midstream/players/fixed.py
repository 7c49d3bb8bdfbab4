"""Which players make the same operations on tensors at each batch, so that a move can be captured."""

from midstream.players.interface import Player, Relabelling
from midstream.players.wrappers.composing import composes


def is_fixed(player: Player) -> bool:
    """Return whether a player says that its move is a fixed program.

    Such a player sets `fixed = True` in its class, or has a property of that name. It promises that a move is
    the same operations on tensors at each batch; that it draws no random numbers, reads no value of a tensor,
    and does not use the batch's number; and that its `state_dict` changes only by a `MomentumHistory`. Its
    `view.validation_gradient()` and `view.programs` may be used, its reports are those of its first move. A
    subclass makes the promise anew: it may do more.

    >>> class Brighter:
    ...     fixed = True
    >>> class Counting(Brighter):
    ...     calls = 0
    >>> is_fixed(Brighter()), is_fixed(Counting())
    (True, False)
    """
    own = vars(type(player)).get("fixed", False)
    said = own.__get__(player) if isinstance(own, property) else own
    plain = not isinstance(player, Relabelling) and not composes(player)
    return bool(said) and "perturb" not in vars(player) and plain
