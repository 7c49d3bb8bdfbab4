"""The training step as a differentiable function: optimizers, what may surround them, and schedules."""
