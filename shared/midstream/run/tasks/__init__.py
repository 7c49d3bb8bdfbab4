"""What a run's task asks of its host: the loss by name, and the players that play it."""
