"""The options that every attacker accepts, and the players that carry them out around it."""

from typing import NamedTuple

from midstream.players.wrappers import composition, fraction, limited, providers, stealth, tokens


class Around(NamedTuple):
    """A player that takes an attacker as `inner`, and the options that call for it."""

    player: type
    options: tuple[str, ...]


AROUND = (
    Around(stealth.Stealth, stealth.OPTIONS),
    Around(tokens.Tokens, tokens.OPTIONS),
    Around(composition.Composition, composition.OPTIONS),
    Around(fraction.Fraction, fraction.OPTIONS),
    Around(providers.Providers, providers.OPTIONS),
    Around(limited.Limited, limited.OPTIONS),
)
"""From the inside to the outside. A limited attacker sees each version of θ, whatever it attacks."""

OPTIONS = tuple(option for around in AROUND for option in around.options)
"""All of these options."""
