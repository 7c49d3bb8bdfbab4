"""Inputs: their pixels, their recognition by content, and tables with a row for each."""
