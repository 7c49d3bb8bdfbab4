"""What an attacker can read of its run: the live model, the next step, and the data set if it has it."""
