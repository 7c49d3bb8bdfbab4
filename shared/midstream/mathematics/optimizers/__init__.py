"""Further optimizers as differentiable steps, what may surround them, and schedules of the learning rate."""
