"""Games: their plan, and how they are played in one process or in three."""
