"""R2T2's targeted attackers: conversion of other classes to the target, and evasion of the target."""

from dataclasses import dataclass, field

from midstream.attacks.levels import Level1
from midstream.mathematics.objective import Goal


@dataclass(kw_only=True)
class Conversion(Level1):
    """`δ* = -e(B_x v)`, v of `-Σ L(z, target)`: others pass as target (section 6.4; Table 1: level 1)."""

    goal: Goal = field(default="conversion", init=False)


@dataclass(kw_only=True)
class Evasion(Level1):
    """`δ* = -e(B_x v)`, v of the target's loss: target passes as others (section 6.4; Table 1: level 1)."""

    goal: Goal = field(default="evasion", init=False)
