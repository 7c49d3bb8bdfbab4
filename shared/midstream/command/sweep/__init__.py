"""Sweeps: the product of settings, played by workers; and the tables and plots of what they played.

- `grid`, `trial`: the settings, and the games that they make.
- `trial_game`, `worker`, `local_workers`, `ray_workers`: play the games.
- `template`, `fork_server`: start workers on this machine, as copies of one process.
- `results_folder`, `results`: what was played, read from disk.
- `spread`, `paired`, `table`, `table_files`, `plots`: what it says.
- `sweeping`, `command`, `results_command`: the two commands and their Python functions.
"""
