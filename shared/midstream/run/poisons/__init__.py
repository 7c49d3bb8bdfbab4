"""Poisons: the perturbations of training data as files, recorded from a run or published by others.

- `poison`: one file of recorded perturbations, with a card.
- `arrays`: perturbations as plain NumPy arrays.
- `recorder`: records what an attacker sends.
- `replay`: the attacker that plays a file.
"""
