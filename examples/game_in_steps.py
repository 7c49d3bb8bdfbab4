"""A game step by step: how much of each attack the defender takes back.

python examples/game_in_steps.py
"""

from pathlib import Path
from tempfile import mkdtemp

from torch import nn

import midstream


def taken_back(out: Path, *, steps: int = 60) -> list[float]:
    """Return the cosine between attack and correction in each step; -1 takes the whole direction back."""
    cosines = []
    with midstream.Game(attacker="level-1", defender="level-1", max_steps=steps, out=out) as game:
        for step in game:
            assert step.attacked is not None
            assert step.defended is not None
            attack = (step.attacked - step.clean).flatten(1)
            correction = (step.defended - step.attacked).flatten(1)
            cosines.append(nn.functional.cosine_similarity(attack, correction).mean().item())
    return cosines


if __name__ == "__main__":
    for number, cosine in enumerate(taken_back(Path(mkdtemp()))):
        print(f"step {number}: cosine {cosine:+.3f}")
