"""Plug-ins by name: attackers, defenders, checkers, models, data sets, optimizers and losses.

A name is an entry point (`level-1`), a dotted path (`package.module:Name`) or a file (`path/file.py:Name`).
Options follow it: `level-1,beta=0.9`. A plus sign combines defenders: `level-1+cutmix,on=both`.

- `naming`: how such a text is written, and which names are installed.
- `finding`: the object behind a name.
- `weights`: the files of weights that a text names.
- `configuration`: the object with its options, converted by its annotations.
- `making`: the player that a text describes.
"""

from typing import TYPE_CHECKING

from midstream.on_first_use import on_first_use
from midstream.plugins.naming import LIBRARIES, Kind, PluginError, members, names, parse
from midstream.plugins.weights import permitted, weights_sha256

if TYPE_CHECKING:
    from midstream.plugins.configuration import bound, configured
    from midstream.plugins.finding import find
    from midstream.plugins.making import given, given_checker, make, make_gate
else:
    # These import torch, which the names alone do not need.
    __getattr__ = on_first_use(
        __name__,
        {
            "midstream.plugins.configuration": ["bound", "configured"],
            "midstream.plugins.finding": ["find"],
            "midstream.plugins.making": ["given", "given_checker", "make", "make_gate"],
        },
    )

__all__ = [
    "LIBRARIES",
    "Kind",
    "PluginError",
    "bound",
    "configured",
    "find",
    "given",
    "given_checker",
    "make",
    "make_gate",
    "members",
    "names",
    "parse",
    "permitted",
    "weights_sha256",
]
