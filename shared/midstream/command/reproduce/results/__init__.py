"""Results that ship with midstream: games played for the tables of the paper."""
