"""Pretrained state of players and surrogates, and its cache on disk."""
