"""`midstream export`: what a run's attacker sent, as one file."""
