"""Attacks by a network that is trained before the game and then perturbs each batch in one pass."""
