"""Options of a black-box attacker's surrogate, and the settings they make."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from midstream.console.options import named, option, together
from midstream.console.process_options import cache_option

if TYPE_CHECKING:
    from midstream_proxy.surrogates.surrogate import SurrogateSettings

surrogate_options = together(
    option(
        "--surrogate",
        shell_complete=named("models"),
        help="Model of the surrogate that a black-box attacker trains; auto by default.",
    ),
    option(
        "--surrogate-epochs",
        type=click.IntRange(1),
        help="Train the surrogate for at most this many epochs; five times the run's by default.",
    ),
    option(
        "--surrogate-train-size",
        type=click.IntRange(1),
        help="Number of the run's training examples that the attacker has; all by default.",
    ),
    option(
        "--surrogate-seed",
        type=click.IntRange(0, 2**63 - 1),
        help="The surrogate's seed; derived from the run's by default.",
    ),
    cache_option,
)


def surrogate_of(settings: Mapping[str, Any]) -> "SurrogateSettings":
    """Return the surrogate's settings from a command's settings.

    Args:
        settings: the values of `surrogate_options` by parameter name; others are ignored.
    """
    from midstream_proxy.surrogates.surrogate import SurrogateSettings

    return SurrogateSettings(
        model=settings["surrogate"] or "auto",
        epochs=settings["surrogate_epochs"],
        train_size=settings["surrogate_train_size"],
        seed=settings["surrogate_seed"],
        cache=settings["cache"],
    )
