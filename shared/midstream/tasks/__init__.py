"""What a run learns: classification, regression, or several labels at once.

- `task`: the kinds, each with its usual loss.
- `losses`: the losses besides cross-entropy.
- `targets`: what is wrong with targets.
- `measures`: how good predictions are.
- `words`: the measures' names.
"""
