"""The Python API: a game as a function call, and step by step."""
