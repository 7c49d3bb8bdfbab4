"""How checkers score a batch: the features that they compare, and the scale of suspicion."""
