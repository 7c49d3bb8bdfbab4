"""How large the games of a scale are, by data set."""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from midstream.command.reproduce.document import DataSet, Scale, Setting
from midstream.protocol.dataset_defaults import defaults

_TIMES = " × "


@cache
def _scales() -> dict[str, Any]:
    content = (files("midstream.command.reproduce") / "scales.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(content)
    return found


def seeds_of(scale: Scale) -> int:
    """Return the number of seeds of a scale.

    >>> seeds_of("quick"), seeds_of("paper")
    (1, 5)
    """
    return int(_scales()[scale]["seeds"])


def sizes_of(scale: Scale, dataset: DataSet) -> dict[str, Setting]:
    """Return the settings that make a game of a scale, by flag of `midstream play`."""
    return dict(_scales()[scale]["settings"][dataset])


def scales_of(dataset: DataSet) -> tuple[Scale, ...]:
    """Return the scales of a data set, the largest first.

    >>> scales_of("mnist"), scales_of("digits")  # the paper does not play digits
    (('paper', 'cpu', 'quick'), ('cpu', 'quick'))
    """
    order: tuple[Scale, ...] = ("paper", "cpu", "quick")
    return tuple(scale for scale in order if dataset in _scales()[scale]["settings"])


def resolved(settings: Mapping[str, Setting], scale: Scale, dataset: DataSet) -> dict[str, Setting]:
    """Return the settings of a game: those of its scale, replaced by those given.

    `0.5 × epsilon` becomes half of the scale's ε, `0.1 × validation-size` a tenth of its validation set.
    `{smoothness}` in the text of a player becomes the paper's M as an option, and `dropout` an option of the
    model.

    >>> resolved({"attack-epsilon": "0.5 × epsilon", "attacker": "level-2{smoothness}"}, "paper", "mnist")
    {'attack-epsilon': 1.5, 'attacker': 'level-2,smoothness=0.203'}
    >>> resolved({"dropout": 0.2, "train-size": "1 × validation-size"}, "paper", "mnist")
    {'train-size': 5000, 'model': 'auto,dropout=0.2'}
    """
    sizes = sizes_of(scale, dataset)
    found = sizes | {name: _value(value, dataset, sizes) for name, value in settings.items()}
    dropout = found.pop("dropout", None)
    if dropout is not None:
        found["model"] = f"{found.get('model', 'auto')},dropout={dropout}"
    return found


def _value(value: Setting, dataset: DataSet, sizes: Mapping[str, Setting]) -> Setting:
    if not isinstance(value, str):
        return value
    if _TIMES in value:
        factor, of = value.split(_TIMES)
        whole = sizes.get(of, defaults(dataset)[of.replace("-", "_")])
        product = float(factor) * float(whole)
        return max(1, round(product)) if isinstance(whole, int) and of != "epsilon" else round(product, 6)
    return value.replace("{smoothness}", _scales()["smoothness"][dataset])
