"""Attacks from elsewhere, that the paper compares with or that came after it: a file each.

Each file holds the attack as a function and a player round it; a row in `pyproject.toml` names it.
"""
