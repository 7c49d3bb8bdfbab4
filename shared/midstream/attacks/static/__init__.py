"""Availability attacks: perturbations that are fixed before the game and do not follow θ.

- `table`: a perturbation for each training example, found by the example's content.
- `shortcuts`: scaling of patterns that are linked to a class.
- `lsp`, `ops`, `ar`: patterns of a class, without a network.
- `em`, `rem`, `tap`: perturbations crafted on a surrogate.

`midstream.run.poisons.replay` plays those that others published.
"""
