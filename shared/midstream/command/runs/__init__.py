"""Runs, finished or in progress, as they are read, compared and drawn."""
