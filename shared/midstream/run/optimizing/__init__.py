"""Optimizer, schedule, clipping and accumulation of a training, and their state."""
