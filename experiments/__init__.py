"""Measurements reported in docs, one command each."""
