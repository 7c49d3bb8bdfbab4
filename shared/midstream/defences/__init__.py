"""The defenders: R2T2's, and those that the paper compares with.

R2T2's defenders are in `levels` and `closed_form`; `loop` offers level 1 to a training loop of your own. Each
of the others has a file of its own, which holds the defence as a function or a network and a player that uses
it: `transforms` has those that transform images, and `purifiers` those that pretrain a network to remake
them. A row in `pyproject.toml` names each player.
"""
