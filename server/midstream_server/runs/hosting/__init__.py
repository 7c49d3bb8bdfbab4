"""Runs as the network sees them: their registry, the answers to batches, and what they publish."""
