"""The attackers: R2T2's, those that the paper compares with, and later ones.

R2T2's attackers are in `levels`, `targeted` and `closed_form`. Each of the others has a file of its own,
which holds the attack as a function and a player that calls it: `adversarial` has those that make adversarial
examples of the live model, `generators` those that pretrain a network, and `static` those that are fixed
before the game. A row in `pyproject.toml` names each player.
"""
