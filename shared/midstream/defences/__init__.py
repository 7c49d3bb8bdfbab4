"""Defences from elsewhere, that the paper compares with: a file each.

Each file holds the defence as a function or a network and a player round it; a row in `pyproject.toml` names
it.
"""
